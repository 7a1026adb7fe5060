"""The folder of one run: where everything lies that the run writes, and what state the run is in."""

import contextlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from framework.errors import OstinatoError


class RunError(OstinatoError, RuntimeError):
    """A run cannot go on; the message names the folder and the remedy."""


@dataclass(frozen=True)
class RunFolder:
    """`<root>/<system>/<signature>/` with checkpoints, configuration, metrics, audio and W&B files."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of `last.ckpt`, `previous.ckpt` and `best.ckpt`."""
        return self.path / "checkpoints"

    @property
    def audio(self) -> Path:
        """Folder of the held-out clips, a folder each."""
        return self.path / "audio"

    @property
    def config(self) -> Path:
        """The resolved configuration with the run's identity and provenance."""
        return self.path / "config.yaml"

    @property
    def summary_file(self) -> Path:
        """The final distances; it exists when the run is finished."""
        return self.path / "summary.json"

    def summary(self) -> dict[str, Any] | None:
        """Return the final distances, or `None` while the run is not finished."""
        return json.loads(self.summary_file.read_text()) if self.summary_file.exists() else None

    def stored_config(self) -> dict[str, Any] | None:
        """Return the configuration as it was stored, or `None` for a new run.

        Raises:
            RunError: when the file is damaged.
        """
        if not self.config.exists():
            return None
        try:
            stored = yaml.safe_load(self.config.read_text())
        except (yaml.YAMLError, UnicodeDecodeError):
            stored = None
        if not isinstance(stored, dict):
            raise RunError(f"{self.config} is damaged: `ostinato fit` writes it again")
        return stored

    def write_config(self, config: dict[str, Any]) -> None:
        """Store the resolved configuration."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, yaml.safe_dump(config, sort_keys=False))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Store the final distances, which marks the run as finished."""
        write_atomically(self.summary_file, json.dumps(summary, indent=1) + "\n")

    def sources(self) -> dict[str, str]:
        """Return the source code that the run was last trained by, the hash of each definition; empty if not known."""
        try:
            stored = json.loads((self.path / "sources.json").read_text())
        except (OSError, ValueError):
            return {}
        return stored if isinstance(stored, dict) else {}

    def write_sources(self, sources: dict[str, str]) -> None:
        """Store the source code that the run is trained by."""
        write_atomically(self.path / "sources.json", json.dumps(sources, indent=0, sort_keys=True) + "\n")

    def set_aside(self) -> Path:
        """Move all that the folder holds to a folder beside it, which has the date in its name, and return that.

        Raises:
            RunError: another process trains this very run.
        """
        with self.locked():
            name = f"{self.path.name}.{time.strftime('%Y-%m-%d_%H-%M-%S')}"
            names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
            target = next(path for n in names if not (path := self.path.with_name(n)).exists())
            os.rename(self.path, target)
        return target

    def earlier(self) -> list[Path]:
        """Return the folders that were set aside, the oldest first."""
        return sorted(self.path.parent.glob(f"{self.path.name}.*"))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process out of the run; the lock of a process that died is taken over.

        Raises:
            RunError: when another process trains this very run.
        """
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / ".lock", "a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.seek(0)
                owner = lock.read() or "?"
                raise RunError(f"{self.path} is being trained by process {owner}: wait or stop it") from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield


def run_folder(root: str | Path, system: type, signature: str) -> RunFolder:
    """Return the folder of the run with this signature; a system is named after its module."""
    return RunFolder(Path(root) / system.__module__.rpartition(".")[2] / signature)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that a reader, or a kill, finds the old one or the new one and nothing between."""
    part = path.with_name(f".{path.name}.part")
    with open(part, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
