"""What is kept beside a run's identity: commit, source, package versions and the command."""

import importlib.metadata
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from framework.runs.identity import source_hash

PACKAGES = ("torch", "torchaudio", "lightning", "auraloss", "nnAudio", "webdataset", "wandb", "numpy")


def provenance(*classes: type) -> dict[str, Any]:
    """Return commit, source hash of the classes, package versions and command line."""
    return {
        "command": " ".join(["ostinato", *sys.argv[1:]]),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no")),
        "source": source_hash(*classes),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def git(*arguments: str) -> str | None:
    """Return what git says of the project's checkout, or `None` where there is none."""
    root = Path(__file__).parents[2]
    try:
        done = subprocess.run(["git", "-C", root, *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
