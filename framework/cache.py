"""The cache folder of rendered, packed and downloaded data."""

import os
from pathlib import Path

from framework.writing import remove_leftovers


def cache_folder() -> Path:
    """Return `$OSTINATO_CACHE`, or `~/.cache/ostinato` (below `$XDG_CACHE_HOME` where that is set), and create it."""
    general = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("OSTINATO_CACHE") or Path(general) / "ostinato").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def clean_cache() -> None:
    """Remove incomplete files of dead processes from the cache folder and its direct subfolders."""
    folder = cache_folder()
    remove_leftovers(folder)
    for inner in folder.iterdir():
        if inner.is_dir():
            remove_leftovers(inner)
