"""Folders that several processes want and one of them makes."""

import shutil
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

from datamodules.shards.writer import MANIFEST
from framework.writing import remove_leftovers, replacing


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
