"""The help of a command with an experiment, which is stored until a source file changes, as it needs torch."""

import contextlib
import hashlib
import io
import shutil
from importlib.metadata import version
from pathlib import Path

from framework.cache import cache_folder
from framework.catalogue import module_names, sources_state
from framework.progress import busy
from framework.workflow.command import BaseCommand
from framework.writing import write_atomically


def stored_help(command: BaseCommand, name: str) -> str | None:
    """Return the help of a command with an experiment; None if there is no experiment of this name."""
    known = module_names()
    if name not in {*known, *(module.rpartition(".")[2] for module in known)}:
        return None
    stored = _help_file(command.name, name)
    with contextlib.suppress(OSError):
        return stored.read_text()
    with busy(f"reading {name}", at_once=True):
        text = _rendered(command, name)
    with contextlib.suppress(OSError):
        for folder in stored.parent.parent.glob("*"):
            if folder != stored.parent:
                shutil.rmtree(folder, ignore_errors=True)
        stored.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(stored, text)
    return text


def _help_file(command: str, name: str) -> Path:
    packages = [f"{package} {version(package)}" for package in ("jsonargparse", "lightning", "torch")]
    state = hashlib.sha256(" ".join([sources_state(), *packages]).encode()).hexdigest()[:24]
    return cache_folder() / "help" / state / f"{command}-{name}-{shutil.get_terminal_size().columns}.txt"


def _rendered(command: BaseCommand, name: str) -> str:
    """Return the help that the command's parser prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        command.main([name, "--help"])
    return printed.getvalue()
