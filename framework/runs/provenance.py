"""What is kept beside a run's identity: commit, source code, package versions and the command."""

import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.runs.folder import RunError, RunFolder
from framework.runs.sources import Sources, changed_names, has_changed, hash_of

PACKAGES = ("torch", "torchaudio", "lightning", "auraloss", "nnAudio", "webdataset", "wandb", "numpy")
NAMED = 3
"""Changed definitions that a message names."""


def sources_of(system: Any, data: type, sources: Sources | None = None) -> dict[str, str]:
    """Return the source code of a system and its data module's class: hashes of definitions by `module:name`."""
    return (sources or Sources()).of(type(system), data, *system.relies_on())


def provenance(sources: Mapping[str, str], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return commit, hash of the source code, package versions and command line.

    Args:
        sources: The hash of each definition.
        before: The provenance of the run that is continued: other code that it was trained by is listed in `earlier`.
    """
    found: dict[str, Any] = {
        "command": " ".join(["ostinato", *sys.argv[1:]]),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "source": hash_of(sources),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
    earlier = list((before or {}).get("earlier", ()))
    if before and has_changed(str(before.get("source")), found["source"]):
        earlier.append({"commit": before.get("commit"), "source": before["source"]})
    return found | ({"earlier": earlier} if earlier else {})


def change_since(folder: RunFolder, sources: Mapping[str, str]) -> str:
    """Return in words which code has changed since a run was trained; empty where none has, or it is not known."""
    try:
        stored = (folder.stored_config() or {})["provenance"]
        if not has_changed(stored["source"], hash_of(sources)):
            return ""
    except (RunError, KeyError, TypeError, AttributeError):
        return ""
    names = changed_names(known, sources) if (known := folder.sources()) else []
    listed = f"{few(names)}, " if names else ""
    return f"{listed}since commit {str(stored.get('commit'))[:10]}"


def few(names: Sequence[str]) -> str:
    """Return the first names of many, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def git(*arguments: str) -> str | None:
    """Return what git says of the project's checkout, or `None` where there is none."""
    root = Path(__file__).parents[2]
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
