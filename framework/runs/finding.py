"""Finding runs by what they have stored, without torch and without their data."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.runs.finished import LAST, checkpoint_step
from framework.runs.folder import RunError, RunFolder, State, folder_names
from framework.runs.identity import same_but_data, signature
from framework.runs.stored_files import TAIL, DamagedFileError, read_metrics

RUNS = "runs"
"""Folder of all runs where no other is named."""
_root: ContextVar[Path] = ContextVar("runs", default=Path(RUNS))


class RunNotFoundError(RunError, LookupError):
    """There is no such run; the message names those there are, or how to train one."""


def runs_root() -> Path:
    """Return the folder of all runs that names are looked up in."""
    return _root.get()


@contextlib.contextmanager
def runs_in(root: str | Path) -> Iterator[None]:
    """Look names up in another folder of runs for the length of a block, such as those of autoencoders."""
    token = _root.set(Path(root))
    try:
        yield
    finally:
        _root.reset(token)


def run_folders(root: str | Path, system: str = "*") -> list[RunFolder]:
    """Return the folders of all runs, or of those in a folder of one name, without those that were set aside."""
    found = (RunFolder(config.parent) for config in sorted(Path(root).glob(f"{system}/*/config.yaml")))
    return [folder for folder in found if not folder.is_set_aside]


def stored(folder: RunFolder) -> dict[str, Any]:
    """Return the configuration of a run; empty for one that is damaged or not there."""
    try:
        return folder.stored_config(("identity",)) or {}
    except DamagedFileError:
        return {}


def runs_like(root: str | Path, system: type, identity: Mapping[str, Any]) -> list[RunFolder]:
    """Return the runs that have an identity, on whatever data.

    Args:
        root: Folder of all runs.
        system: The class that the system is made of.
        identity: What the runs' identities have to be, apart from the data's manifest.
    """
    folders = [folder for name in folder_names(system) for folder in run_folders(root, name)]
    return [folder for folder in folders if (own := stored(folder)) and same_but_data(own["identity"], identity)]


def runs_of(experiment: str, root: str | Path | None = None) -> list[RunFolder]:
    """Return the runs of an experiment of this name, the one that was begun or continued last first.

    Args:
        experiment: Name of its module, of which the last part is enough.
        root: Folder of all runs; by default the one that names are looked up in.
    """
    folders = run_folders(runs_root() if root is None else root)
    found = [folder for folder in folders if is_named(experiment, stored(folder).get("experiment", ""))]
    return sorted(found, key=lambda folder: folder.config.stat().st_mtime, reverse=True)


def is_named(name: str, module: str) -> bool:
    """Return whether an experiment's module is what a name stands for."""
    return bool(module) and name in (module, module.removeprefix("experiments."), module.rpartition(".")[2])


def run_at(target: str | Path, root: str | Path | None = None) -> RunFolder | None:
    """Return the run whose folder this is, or has this name below the folder of all runs; None if there is none.

    Args:
        target: Path of the folder; or below the folder of all runs, as `hifigan_v3/1c9a77e0aa`, or the last part alone.
        root: Folder of all runs; by default the one that names are looked up in.
    """
    root = runs_root() if root is None else Path(root)
    text = str(target)
    for folder in (RunFolder(Path(target)), RunFolder(root / target)):
        if folder.config.is_file():
            return folder
    if not text or set(text) - set("0123456789abcdef"):
        return None
    found = [folder for folder in run_folders(root) if folder.path.name == text]
    return found[0] if len(found) == 1 else None


def checkpoints_of(folder: RunFolder) -> dict[str, int]:
    """Return the step of each checkpoint of a run by the name of its file, without reading their tensors."""
    found = {path.name: checkpoint_step(path) for path in sorted(folder.checkpoints.glob("[!.]*.ckpt"))}
    return {name: step for name, step in found.items() if step is not None}


@dataclass(frozen=True)
class Listed:
    """One run in the list of all runs.

    Args:
        folder: Its folder.
        experiment: Name of the experiment.
        system: Class of the experiment, or of its system where an earlier version did not store it.
        signature: Short hash of its identity.
        seed: Its seed.
        step: Step of the last checkpoint, or of the last row of `metrics.csv`.
        planned: Steps of the whole training; -1 for no limit.
        state: Whether it is finished.
        metric: Name of the metric that the best checkpoint is chosen by.
        value: Its newest value; None where it was not measured.
        changed: Time of the last change (s since 1970).
        changes: Values that were given for this run in place of the experiment's, by name.
        damage: What is damaged of its files; empty if nothing is.
    """

    folder: RunFolder
    experiment: str
    system: str
    signature: str
    seed: int | None
    step: int
    planned: int
    state: State
    metric: str
    value: float | None
    changed: float
    changes: dict[str, Any] = field(default_factory=dict)
    damage: str = ""


def list_runs(root: str | Path = RUNS) -> list[Listed]:
    """Return all runs below a folder, those of one experiment together, the oldest first."""
    found = [listed(folder) for folder in run_folders(root)]
    return sorted(found, key=lambda run: (run.experiment, run.system, run.changed))


def listed(folder: RunFolder) -> Listed:
    """Return what the list of runs says of one; of a damaged one as much as can be read."""
    damage, config, rows = "", {}, []
    try:
        config = folder.stored_config() or {}
        rows = read_metrics(folder.metrics, TAIL)
    except DamagedFileError as error:
        damage = error.damage
    identity = config.get("identity") or {}
    metric = config.get("monitor") or next((n for n in (rows[0] if rows else ()) if n.startswith("validation/")), "")
    values = [float(row[metric]) for row in rows if row.get(metric)]
    steps = [int(float(row["step"])) for row in rows if row.get("step")]
    reached = checkpoint_step(folder.checkpoints / LAST)
    paths = [path for path in (folder.config, folder.metrics, folder.summary_file) if path.exists()]
    return Listed(
        folder=folder,
        experiment=str(config.get("experiment", folder.path.parent.name)).removeprefix("experiments."),
        system=str(config.get("class") or str(identity.get("system", "")).partition("#")[0].rpartition(":")[2]),
        signature=signature(identity) if identity else folder.path.name,
        seed=config.get("seed"),
        step=max(steps, default=0) if reached is None else reached,
        planned=(config.get("trainer") or {}).get("max_steps", -1),
        state=folder.state(),
        metric=metric,
        value=values[-1] if values and math.isfinite(values[-1]) else None,
        changed=max((path.stat().st_mtime for path in paths), default=0.0),
        changes=config.get("changes") or {},
        damage=damage,
    )
