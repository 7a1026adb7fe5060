"""The folder of a run: its files and the state of the run."""

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from framework.aliases import first_name
from framework.hyperparameters import Hyperparameters
from framework.json_text import parse_json
from framework.runs.finished import LAST, checkpoint_step, has_ended, holds_end, is_whole
from framework.runs.locks import is_locked, lock, owner
from framework.runs.stored_files import DamagedFileError, RunError, read_config, read_metrics, read_summary
from framework.writing import WriteError, remove_leftovers, write_atomically

State = Literal["finished", "running", "stopped", "failed", "damaged", "new"]


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
    def lock_file(self) -> Path:
        """File that the training process locks."""
        return self.path / ".lock"

    @property
    def metrics(self) -> Path:
        """All logged metrics, one row per step."""
        return self.path / "metrics.csv"

    @property
    def summary_file(self) -> Path:
        """Final metrics and the last step, which is compared with `last.ckpt`."""
        return self.path / "summary.json"

    @property
    def failure_file(self) -> Path:
        """Reason why a sweep's last attempt at the run failed; the next attempt removes the file."""
        return self.path / "failure.json"

    @property
    def is_set_aside(self) -> bool:
        """Whether this is an earlier run that `fit --rerun` has kept."""
        return "." in self.path.name

    def state(self) -> State:
        """Return the state of the run."""
        try:
            if self.summary() is not None:
                return "finished"
            lost = self.claimed_summary() is not None
        except DamagedFileError:
            return "damaged"
        if is_locked(self.lock_file):
            return "running"
        if self.failure_file.exists():
            return "failed"
        if any(self.checkpoints.glob("*.ckpt")):
            return "stopped"
        return "damaged" if lost else "new"

    def summary(self, parts: Iterable[str] = ("steps",)) -> dict[str, Any] | None:
        """Return the final distances, or `None` while the run is not finished.

        It is when it has made all planned steps and `last.ckpt` is the checkpoint of the last one.

        Args:
            parts: What has to be in the file.

        Raises:
            DamagedFileError: when the file is damaged.
        """
        stored = self.claimed_summary(parts)
        return stored if stored is not None and holds_end(stored, self.checkpoints) else None

    def claimed_summary(self, parts: Iterable[str] = ("steps",)) -> dict[str, Any] | None:
        """Return the final distances of a run that made all planned steps, whatever became of its checkpoints since.

        Raises:
            DamagedFileError: when the file is damaged.
        """
        stored = read_summary(self.summary_file, parts)
        if stored is None:
            return None
        try:
            config = {} if "state" in stored else self.stored_config() or {}
        except DamagedFileError:
            config = {}
        return stored if has_ended(stored, config) else None

    def end(self, step: int) -> int:
        """Read the checkpoint of the last step back; return its size in bytes.

        Raises:
            RunError: it is damaged or that of an earlier step, which a full disk leaves.
        """
        last = self.checkpoints / LAST
        found = checkpoint_step(last)
        if found == step and is_whole(last):
            return last.stat().st_size
        held = "cannot be read" if found in (None, step) else f"is of step {found}"
        held = held if last.exists() else "is not there"
        raise RunError(
            f"the run has made {step} steps, but {last} {held}: make room on the disk, and the same command continues "
            "from the newest checkpoint"
        )

    def stored_config(self, parts: Iterable[str] = ()) -> dict[str, Any] | None:
        """Return the configuration as it was stored, or `None` for a new run.

        Args:
            parts: What has to be in it.

        Raises:
            DamagedFileError: when the file is damaged.
        """
        return read_config(self.config, parts)

    def damages(self) -> list[str]:
        """Return what is damaged of the run's configuration, metrics and summary, and what to do: a line each."""
        found = []
        readers: list[Callable[[], Any]] = [
            lambda: self.stored_config(("identity",)),
            lambda: read_metrics(self.metrics),
            self.summary,
        ]
        for read in readers:
            try:
                read()
            except DamagedFileError as error:
                found.append(str(error))
        return found

    def write_config(self, config: dict[str, Any]) -> None:
        """Store the resolved configuration."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.config, yaml.safe_dump(config, sort_keys=False))

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Store the final distances of a finished run."""
        write_atomically(self.summary_file, json.dumps(summary, indent=1) + "\n")

    def sources(self) -> dict[str, str]:
        """Return the source code that the run was last trained by, the hash of each definition; empty if not known."""
        try:
            stored = parse_json((self.path / "sources.json").read_text())
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
        """Keep a second process out of the run, and remove what a dead one has left half written.

        Raises:
            RunError: when another process trains this very run.
            WriteError: when the folder cannot be made.
        """
        path = self.lock_file
        with contextlib.ExitStack() as stack:
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                taken = stack.enter_context(lock(path))
            except OSError as error:
                raise WriteError(self.path, error) from error
            if not taken:
                raise RunError(f"{self.path} is being trained by process {owner(path)}: wait or stop it")
            self.remove_leftovers()
            yield

    def remove_leftovers(self) -> None:
        """Remove temporary files of dead processes; to be called with the run's lock."""
        for folder in (self.path, self.checkpoints, *self.audio.glob("*/")):
            remove_leftovers(folder)
        # Names that earlier versions gave.
        for path in (*self.checkpoints.glob(".*.ckpt.part"), *self.path.glob(".metrics.csv.[0-9]*")):
            if "-" not in path.name:
                path.unlink(missing_ok=True)


def run_folder(root: str | Path, system: type, signature: str) -> RunFolder:
    """Return the folder of the run with this signature.

    Args:
        root: Folder of all runs.
        system: The class that the run's system is made of, which names the folder (see `folder_names`).
        signature: Short hash of the run's identity.

    Raises:
        RunError: the folder of all runs is a file.
    """
    check_root(root)
    paths = [Path(root) / name / signature for name in folder_names(system)]
    return RunFolder(next((path for path in paths if (path / "config.yaml").exists()), paths[0]))


def check_root(root: str | Path) -> None:
    """Refuse a folder of all runs that is a file.

    Raises:
        RunError: naming it.
    """
    if Path(root).is_file():
        raise RunError(f"--runs {root}: is a file; name a folder")


def folder_names(system: type) -> list[str]:
    """Return the name of the folder that holds the runs of a system, and the name that earlier versions gave it.

    It is the last part of the module's name. A module of one's own that defines several systems has a folder for each,
    `module.Class`; in a notebook or a script that was started by itself the class alone gives the name.
    """
    module = first_name(system.__module__).rpartition(".")[2]
    if system.__module__ == "__main__":
        return [system.__name__, module]
    if system.__module__.startswith("framework.") or len(_systems_beside(system)) < 2:
        return [module]
    return [f"{module}.{system.__name__}", module]


def _systems_beside(system: type) -> list[type]:
    """Return the systems that the module of one defines methods of, that one included."""
    shared = {base for base in system.__mro__ if issubclass(base, Hyperparameters)} - {Hyperparameters, system}
    classes = {id(v): v for v in vars(sys.modules[system.__module__]).values() if isinstance(v, type)}.values()
    own = (cls for cls in classes if cls.__module__ == system.__module__ and issubclass(cls, Hyperparameters))
    return [cls for cls in own if cls.system() is cls and shared & set(cls.__mro__)]
