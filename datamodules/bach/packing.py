"""Music packed into shards, once for each recipe: in parallel, whole or not at all."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from datamodules.bach.clips import LICENCE, VERSION, Clip, clips
from datamodules.bach.corpus import load_chorales
from datamodules.bach.splits import arrange
from datamodules.packing.parallel import in_parallel
from datamodules.packing.splits import SPLITS
from datamodules.shards.writer import ShardWriter, write_manifest
from framework.errors import InvalidValueError
from framework.music.soundfont import soundfont_path
from framework.progress import progress


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
