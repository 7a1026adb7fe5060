"""Music packed into shards, once for each recipe: in parallel, whole or not at all."""

import hashlib
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from datamodules.chorale_clips import LICENCE, VERSION, Clip, clips
from datamodules.chorale_splits import SPLITS, arrange
from datamodules.chorales import load_chorales
from datamodules.parallel import in_parallel
from datamodules.shards import MANIFEST, ShardWriter, write_manifest
from datamodules.soundfont import soundfont_path
from framework.errors import InvalidValueError
from framework.progress import progress
from framework.writing import remove_leftovers, replacing


def packed_name(recipe: Any, **determining: Any) -> str:
    """Return a hash of everything that determines the packed bytes, without reading the score.

    Args:
        recipe: A dataclass.
        determining: Whatever else does, beside the score, the sounds and the player.
    """
    everything = {
        "version": VERSION,
        "score": importlib.metadata.version("music21"),
        "sounds": hashlib.sha256(soundfont_path().read_bytes()).hexdigest(),
        "player": importlib.metadata.version("midirenderer"),
        **determining,
        **asdict(recipe),
    }
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:12]


def make_once(folder: Path, make: Callable[[Path], None]) -> None:
    """Have a packed folder made, unless it is there: `make` is given an empty folder to fill.

    Several processes may call this at once; one packs, the others wait. The folder appears under its name when it is
    whole; what a killed packing left behind is removed by the next.
    """
    if (folder / MANIFEST).exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if (folder / MANIFEST).exists():
            return
        remove_leftovers(folder.parent)
        for left_behind in (*folder.parent.glob(f"{folder.name}.partial-*"), folder):
            shutil.rmtree(left_behind, ignore_errors=True)
        with replacing(folder) as partial:
            partial.mkdir()
            make(partial)


def pack_chorales(folder: Path, pieces: int, recipe: Any, play: Callable[..., list[Clip]] = clips) -> None:
    """Pack the first `pieces` chorales, each as the clips `play(chorale, split, recipe)`.

    Raises:
        ValueError: there are fewer chorales than `pieces`.
    """
    chorales = load_chorales()
    if pieces > len(chorales):
        raise InvalidValueError(
            f"there are {len(chorales)} chorales, {pieces} were asked for: set --data.pieces to at most that"
        )
    jobs = [(chorale, split, recipe) for chorale, split in arrange(chorales)[:pieces]]
    pack_clips(
        folder,
        play,
        jobs,
        "rendering Bach chorales (once)",
        "pieces",
        recipe.sample_rate,
        pieces=pieces,
        recipe=asdict(recipe),
    )


def pack_clips(
    folder: Path,
    play: Callable[..., list[Clip]],
    jobs: list[tuple],
    title: str,
    unit: str,
    sample_rate: int,
    **facts: Any,
) -> None:
    """Write the clips that `play(*job)` makes of all jobs, in their order, and the manifest with further facts."""
    with ExitStack() as stack:
        writers = {split: stack.enter_context(ShardWriter(folder, split)) for split in SPLITS}
        played: Iterable[list[Clip]] = in_parallel(play, jobs)
        for made in progress(played, title, len(jobs), unit):
            for clip in made:
                writer = writers[clip.metadata["split"]]
                writer.write(clip.key, clip.audio, sample_rate, clip.metadata, clip.members)
    write_manifest(folder, licence=LICENCE, **facts)
