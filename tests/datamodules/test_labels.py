"""Pitch and labels belong to the very segment of the very clip, whoever reads it and wherever one begins."""

import numpy as np
import pytest
import torch

from datamodules.audio_folder import AudioFolder
from datamodules.shards.writer import ShardWriter, write_manifest
from datamodules.streaming.audio_data import AudioData
from framework.audio.pitch_grid import at_hops

RATE, FRAMES_A_SECOND = 16_000, 100


def pitch_of(clip: int, seconds: np.ndarray) -> np.ndarray:
    """A pitch that tells the clip and the place in it."""
    return (100.0 + 10 * clip + 5 * seconds).astype(np.float32)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("labelled")
    noise = np.random.default_rng(0)
    for split, count in (("train", 30), ("validation", 3)):
        with ShardWriter(folder, split, shard_bytes=100_000) as writer:
            for clip in range(count):
                samples = int(noise.integers(6_000, 20_000))
                f0 = pitch_of(clip, np.arange(-(-samples * FRAMES_A_SECOND // RATE)) / FRAMES_A_SECOND)
                facts = {"frame_rate": FRAMES_A_SECOND, "instrument": clip % 4, "pitch": -clip, "name": "x"}
                writer.write(f"{split}{clip}", noise.uniform(-1, 1, samples), RATE, facts, {"f0.npy": f0})
    write_manifest(folder)
    return str(folder)


def folder(path, **values):
    options = {"sample_rate": RATE, "segment": 5_000, "batch_size": 6, "f0_hop": 64, "labels": ("instrument", "pitch")}
    return AudioFolder(path=path, **(options | values))


def epoch(data):
    return [batch for batch in data.train_dataloader() if data.advance(batch) is None]


def check(batch, hop=64):
    frames = -(-batch["audio"].shape[-1] // hop)
    assert batch["f0"].shape == (len(batch["key"]), frames)
    assert batch["f0"].dtype == torch.float32
    for row, key in enumerate(batch["key"]):
        clip = int(key.removeprefix("train").removeprefix("validation"))
        start = int(batch["start"][row]) if "start" in batch else 0
        np.testing.assert_allclose(
            batch["f0"][row], pitch_of(clip, (start + hop * np.arange(frames)) / RATE), atol=0.06
        )
        assert (int(batch["instrument"][row]), int(batch["pitch"][row])) == (clip % 4, -clip)
    assert batch["pitch"].dtype == torch.int64


@pytest.mark.parametrize("workers", [0, 2])
def test_labels_are_those_of_the_segment(path, workers):
    batches = epoch(folder(path, workers=workers))
    assert len(batches) == 5
    for batch in batches:
        check(batch)


def test_they_follow_the_clips_through_stops_and_to_other_ranks(path):
    whole = epoch(folder(path))
    data = folder(path, workers=1)
    first = iter(data.train_dataloader())
    for _ in range(2):
        data.advance(next(first))
    again = folder(path)
    again.load_state_dict(data.state_dict())
    rest = epoch(again)
    for before, after in zip(whole[2:], rest, strict=True):
        assert all(torch.equal(before[name], after[name]) for name in ("audio", "f0", "instrument", "pitch"))

    class Rank:
        world_size, training, global_rank = 3, False, 0

    shares = []
    for rank in range(3):
        one = folder(path)
        one.trainer = type("Trainer", (Rank,), {"global_rank": rank})()
        shares.append(epoch(one))
    for number, batch in enumerate(whole):
        assert torch.equal(batch["f0"], torch.cat([share[number]["f0"] for share in shares]))
        assert torch.equal(batch["pitch"], torch.cat([share[number]["pitch"] for share in shares]))


def test_held_out_clips_have_them_too(path):
    for batch in folder(path, f0_hop=256).val_dataloader():
        frames = -(-batch["audio"].shape[-1] // 256)
        assert batch["f0"].shape == (1, frames)
        clip = int(batch["key"][0].removeprefix("validation"))
        np.testing.assert_allclose(batch["f0"][0], pitch_of(clip, 256 * np.arange(frames) / RATE), atol=0.06)
        assert batch["instrument"].tolist() == [clip % 4]


def test_nothing_is_told_unasked_and_old_runs_keep_their_identity(path):
    plain = AudioFolder(path=path, sample_rate=RATE, segment=5_000)
    assert set(next(iter(plain.train_dataloader()))) == {"audio", "key", "clip", "start", "position"}
    assert not {"f0_hop", "labels"} & set(AudioData(segment=5_000).resolved())
    assert folder(path).resolved()["f0_hop"] == 64


def test_interpolation_stays_within_voiced_stretches():
    stored = np.array([0, 100, 200, 0, 0, 300], np.float32)
    found = at_hops(stored, 10, 100, 0, 14, 5)
    # At 0.05 s, half-way between two values, the even one counts as the nearer.
    assert found.tolist() == [0, 0, 100, 150, 200, 200, 0, 0, 0, 0, 300, 300, 0, 0]
    late = at_hops(stored, 10, 100, 12, 3, 5)
    np.testing.assert_allclose(late, [120, 170, 200], atol=1e-3)
    assert at_hops(stored, 10, 100, 1000, 2, 5).tolist() == [0, 0]


def test_the_padding_behind_a_short_clip_has_no_pitch(path):
    batch = epoch(folder(path, segment=19_000, batch_size=30))[0]
    silent = (batch["audio"][:, 0].abs().cumsum(-1) == batch["audio"].abs().sum(-1))[:, ::64]
    assert silent.any()
    # A stored value lasts until the next would come, 160 samples later.
    assert not batch["f0"][:, 3:][silent[:, :-3]].any()


@pytest.mark.parametrize(
    ("metadata", "members", "values", "message"),
    [
        ({}, {}, {"f0_hop": 64}, "AudioFolder: the clip one has no f0.*ostinato pack .*--f0"),
        ({"frame_rate": 100}, {"f0.npy": np.ones((4, 50))}, {"f0_hop": 64}, "4 voices at a time.*BachStems"),
        ({"speaker": 3, "name": "x"}, {}, {"labels": ("name",)}, "no whole number 'name'.*samples, speaker"),
        ({}, {}, {"labels": ("audio",)}, "'audio' is the name of something else"),
        ({}, {}, {"f0_hop": -1}, "f0_hop = -1"),
    ],
)
@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_missing_is_told_in_one_line(tmp_path, metadata, members, values, message, workers):
    for split in ("train", "validation"):
        with ShardWriter(tmp_path, split) as writer:
            writer.write("one", np.full(8_000, 0.5), RATE, metadata, members)
    write_manifest(tmp_path)

    def batch(loader: str):
        data = AudioFolder(path=str(tmp_path), sample_rate=RATE, segment=1_000, batch_size=1, workers=workers, **values)
        return next(iter(getattr(data, loader)()))

    for loader in ("train_dataloader", "val_dataloader"):
        with pytest.raises(ValueError, match=message) as error:
            batch(loader)
        assert "\n" not in str(error.value)
