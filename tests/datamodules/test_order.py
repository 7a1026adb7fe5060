"""Whatever the shards, ranks, workers and stops: the global batches are those of an uninterrupted run on one device."""

import itertools
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datamodules.audio_folder import AudioFolder
from datamodules.shards.writer import ShardWriter, write_manifest

RATE = 8_000


def write(folder: Path, layout: list[int]) -> str:
    noise = np.random.default_rng(len(layout))
    number = itertools.count()
    for shard, clips in enumerate(layout):
        with ShardWriter(folder, "train", first=shard) as writer:
            for _ in range(clips):
                writer.write(f"c{next(number)}", noise.uniform(-1, 1, int(noise.integers(50, 400))), RATE)
    write_manifest(folder)
    return str(folder)


class Trainer:
    training = False

    def __init__(self, rank: int, world: int) -> None:
        self.global_rank, self.world_size = rank, world


def life(options: dict, state: dict | None, world: int, workers: int, steps: int) -> tuple[list, dict]:
    """Train for some steps on some ranks, rank 0 with workers; return the global batches and what rank 0 saved."""
    ranks = []
    for rank in range(world):
        data = AudioFolder(**options, workers=0 if rank else workers)
        data.trainer = Trainer(rank, world)
        if state:
            data.load_state_dict(state)
        ranks.append((data, data.train_dataloader()))
    seen: list = []
    while len(seen) < steps:
        for parts in zip(*(loader for _, loader in ranks), strict=True):
            for (data, _), part in zip(ranks, parts, strict=True):
                data.advance(part)
            rows = [zip(p["key"], p["start"].tolist(), p["audio"][:, 0, 0].tolist(), strict=True) for p in parts]
            seen.append([row for part in rows for row in part])
            if len(seen) == steps:
                break
    saved = ranks[0][0].state_dict()
    for data, _ in ranks:
        data.teardown("fit")
    return seen, saved


@given(
    layout=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    share=st.integers(1, 3),
    crops=st.sampled_from([1, 2]),
    window=st.sampled_from([0, 3, 7]),
    lives=st.lists(
        st.tuples(st.sampled_from([1, 2, 4, 8]), st.sampled_from([0, 0, 1, 2, 4]), st.integers(1, 5)),
        min_size=2,
        max_size=3,
    ),
)
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.too_slow])
def test_the_global_batches_are_those_of_an_uninterrupted_run(layout, share, crops, window, lives):
    with tempfile.TemporaryDirectory() as folder:
        options = {"path": write(Path(folder), layout), "sample_rate": RATE, "segment": 40, "batch_size": 8 * share}
        options |= {"crops_per_clip": crops, "window": window}
        wanted, _ = life(options, None, 1, 0, sum(steps for *_, steps in lives))
        found, state = [], None
        for world, workers, steps in lives:
            seen, state = life(options, state, world, workers, steps)
            found += seen
    assert found == wanted
