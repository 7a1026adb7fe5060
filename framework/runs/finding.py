"""Finding runs by their stored files, without torch and without their data."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.runs.finished import LAST, checkpoint_step
from framework.runs.folder import RunError, RunFolder, State, check_root, folder_names
from framework.runs.identity import same_but_data, signature
from framework.runs.stored_files import TAIL, DamagedFileError, read_metrics

RUNS = "runs"
"""Default folder of all runs."""
_root: ContextVar[Path] = ContextVar("runs", default=Path(RUNS))


class RunNotFoundError(RunError, LookupError):
    """There is no such run; the message names existing runs, or the command that trains one."""


def runs_root() -> Path:
    """Return the current folder of all runs."""
    return _root.get()


@contextlib.contextmanager
def runs_in(root: str | Path) -> Iterator[None]:
    """Context manager that sets the current folder of all runs."""
    token = _root.set(Path(root))
    try:
        yield
    finally:
        _root.reset(token)


def run_folders(root: str | Path, system: str = "*") -> list[RunFolder]:
    """Return the folders of all runs, or of those of one system, without runs that were set aside.

    Raises:
        RunError: the folder of all runs is a file.
    """
    check_root(root)
    found = (RunFolder(config.parent) for config in sorted(Path(root).glob(f"{system}/*/config.yaml")))
    return [folder for folder in found if not folder.is_set_aside]


def stored(folder: RunFolder) -> dict[str, Any]:
    """Return the configuration of a run; empty if it is damaged or missing."""
    try:
        return folder.stored_config(("identity",)) or {}
    except DamagedFileError:
        return {}


def runs_like(root: str | Path, system: type, identity: Mapping[str, Any]) -> list[RunFolder]:
    """Return the runs with an identity, on any data.

    Args:
        root: Folder of all runs.
        system: The class that the system is made of.
        identity: The identity; the data's manifest is ignored.
    """
    folders = [folder for name in folder_names(system) for folder in run_folders(root, name)]
    return [folder for folder in folders if (own := stored(folder)) and same_but_data(own["identity"], identity)]


def runs_of(experiment: str, root: str | Path | None = None) -> list[RunFolder]:
    """Return the runs of an experiment, the most recently started or resumed first.

    Args:
        experiment: Name of its module, or the last part of it.
        root: Folder of all runs; by default the current one.
    """
    folders = run_folders(runs_root() if root is None else root)
    found = [folder for folder in folders if is_named(experiment, stored(folder).get("experiment", ""))]
    return sorted(found, key=lambda folder: folder.config.stat().st_mtime, reverse=True)


def is_named(name: str, module: str) -> bool:
    """Return whether a name refers to an experiment's module."""
    return bool(module) and name in (module, module.removeprefix("experiments."), module.rpartition(".")[2])


def run_at(target: str | Path, root: str | Path | None = None) -> RunFolder | None:
    """Return the run of a folder or of a name below the folder of all runs; None if there is none.

    Args:
        target: Path of the folder; or below the folder of all runs, as `hifigan_v3/1c9a77e0aa`, or the last part alone.
        root: Folder of all runs; by default the current one.
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
    """Return the steps of a run's checkpoints by file name, without reading tensors."""
    found = {path.name: checkpoint_step(path) for path in sorted(folder.checkpoints.glob("[!.]*.ckpt"))}
    return {name: step for name, step in found.items() if step is not None}


@dataclass(frozen=True)
class Listed:
    """One run in the list of all runs.

    Args:
        folder: Its folder.
        experiment: Name of the experiment.
        system: Class of the experiment, or of its system if an earlier version did not store it.
        signature: Short hash of its identity.
        seed: Its seed.
        step: Step of the last checkpoint, or of the last row of `metrics.csv`.
        planned: Planned training steps; -1 for no limit.
        state: State of the run, such as `finished`.
        metric: Name of the metric that the best checkpoint is chosen by.
        value: Latest value of the metric; None if there is none.
        changed: Time of the last change (s since 1970).
        changes: Overrides of the experiment's values, by name.
        damage: Description of damaged files; empty if there are none.
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
    """Return all runs below a folder, sorted by experiment and time."""
    found = [listed(folder) for folder in run_folders(root)]
    return sorted(found, key=lambda run: (run.experiment, run.system, run.changed))


def listed(folder: RunFolder) -> Listed:
    """Return the list entry of a run; of a damaged run as much as can be read."""
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
