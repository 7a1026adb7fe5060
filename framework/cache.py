"""Where data that Ostinato makes or downloads for itself is kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return `$OSTINATO_CACHE`, or `~/.cache/ostinato` (below `$XDG_CACHE_HOME` where that is set), and create it."""
    general = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("OSTINATO_CACHE") or Path(general) / "ostinato").expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
