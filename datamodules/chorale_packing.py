"""The chorales packed into shards, once for each recipe: in parallel, whole or not at all."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from datamodules.chorale_clips import LICENCE, VERSION, Recipe, clips
from datamodules.chorale_splits import SPLITS, arrange
from datamodules.chorales import load_chorales
from datamodules.parallel import in_parallel
from datamodules.shards import MANIFEST, ShardWriter, write_manifest
from datamodules.soundfont import soundfont_path


def packed_name(pieces: int, recipe: Recipe) -> str:
    """Return a hash of everything that determines the packed bytes, without reading the score."""
    determining = {
        "version": VERSION,
        "score": importlib.metadata.version("music21"),
        "sounds": hashlib.sha256(soundfont_path().read_bytes()).hexdigest(),
        "player": importlib.metadata.version("midirenderer"),
        "pieces": pieces,
        **asdict(recipe),
    }
    return hashlib.sha256(json.dumps(determining, sort_keys=True).encode()).hexdigest()[:12]


def pack_once(folder: Path, pieces: int, recipe: Recipe) -> None:
    """Pack the first `pieces` chorales into `folder`, unless they are there.

    Several processes may call this at once; one packs, the others wait. The folder appears under its name when it is
    whole; what a killed packing left behind is removed by the next.

    Raises:
        ValueError: there are fewer chorales than `pieces`.
    """
    if (folder / MANIFEST).exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if (folder / MANIFEST).exists():
            return
        for left_behind in (*folder.parent.glob(f"{folder.name}.partial-*"), folder):
            shutil.rmtree(left_behind, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f"{folder.name}.partial-", dir=folder.parent))
        try:
            _pack(partial, pieces, recipe)
            partial.chmod(0o777 & ~_umask())  # mkdtemp lets nobody else in; a cache may be shared
            partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _pack(folder: Path, pieces: int, recipe: Recipe) -> None:
    chorales = load_chorales()
    if pieces > len(chorales):
        raise ValueError(f"there are {len(chorales)} chorales, {pieces} were asked for: set pieces to at most that")
    jobs = [(chorale, split, recipe) for chorale, split in arrange(chorales)[:pieces]]
    with ExitStack() as stack:
        writers = {split: stack.enter_context(ShardWriter(folder, split)) for split in SPLITS}
        played = in_parallel(clips, jobs)
        for of_one_piece in tqdm(played, "Playing Bach chorales, once", len(jobs), unit=" pieces", dynamic_ncols=True):
            for clip in of_one_piece:
                writer = writers[clip.metadata["split"]]
                writer.write(clip.key, clip.audio, recipe.sample_rate, clip.metadata, clip.members)
    write_manifest(folder, licence=LICENCE, pieces=pieces, recipe=asdict(recipe))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
