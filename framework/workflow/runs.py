"""Opening runs: by folder, by checkpoint, by a file that was released, or by the name of an experiment.

This is the one place that finds a run and builds its system again; every command that takes a run calls it. Neither
finding nor opening a run prepares its data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from framework.catalogue import name_of
from framework.errors import OstinatoError
from framework.runs.finding import (
    RunNotFoundError,
    run_at,
    run_folders,
    runs_like,
    runs_of,
    runs_root,
    stored,
)
from framework.runs.folder import RunFolder, folder_names
from framework.runs.released import is_released, read_facts
from framework.runs.stored_files import PARTS
from framework.workflow.run import ReleasedRun, Run


def open_run(where: str | Path, ckpt: str | int = "last", runs: str | Path | None = None) -> Run:
    """Return a run, or a system that was released as one file. Nothing is rendered, downloaded or loaded yet.

    Args:
        where: A run's folder, or its name below the folder of all runs; one of its checkpoints; a file by
            `ostinato release`; or the name of an experiment, which means the run of it that was trained last.
        ckpt: Which checkpoint is used: `last`, which `Run.summary` is of, `best` or a step.
        runs: Folder of all runs.

    Raises:
        RunNotFoundError: there is no such run.
        DamagedFileError: its configuration is damaged.
        ReleaseError: the file is no release.
    """
    if is_released(where):
        return opened_release(where, ckpt)
    run = run_named(where, ckpt, runs)
    if run is None:
        if is_path(where):
            raise RunNotFoundError(_not_there(Path(where)))
        root = runs_root() if runs is None else Path(runs)
        found = runs_of(str(where), root)
        if not found:
            raise RunNotFoundError(f"no run of {where} in {root}/: `ostinato fit {where}` trains one")
        run = opened(found[0], ckpt)
    if not run.is_given and ckpt != "last":
        run.checkpoint()
    return run


def run_named(where: str | Path, ckpt: str | int = "last", runs: str | Path | None = None) -> Run | None:
    """Return the run that a path, or a name below the folder of all runs, stands for; None if it is neither.

    Raises:
        RunNotFoundError: the path is of something else.
        DamagedFileError: the run's configuration is damaged.
    """
    path = Path(where)
    if is_released(path):
        return opened_release(path, ckpt)
    folder = run_at(where, runs)
    if folder is not None:
        return opened(folder, ckpt)
    if not is_path(where):
        return None
    if not path.is_file():
        raise RunNotFoundError(_not_there(path))
    folder = RunFolder(path.parent.parent)
    if not folder.config.exists():
        raise RunNotFoundError(f"{path} is not inside a run folder: pass the experiment's name and --ckpt_path {path}")
    run = replace(opened(folder), ckpt=path)
    run.check_ckpt(ckpt)
    return run


def find_run(system: Any, data: Any, identity: Mapping[str, Any], root: str | Path, ckpt: str | int = "last") -> Run:
    """Return the run that an experiment's values mean, on whatever data, which are not prepared.

    Where there are several, trained on different data, it is the one that was trained on the data module's.

    Args:
        system: The system, which need not be built.
        data: Its data module.
        identity: The identity, with any manifest.
        root: Folder of all runs.
        ckpt: Which checkpoint is used.

    Raises:
        RunNotFoundError: there is none, or several and the data are not there to tell which; the message names them.
    """
    found = runs_like(root, type(system).system(), identity)
    if len(found) > 1:
        manifest = manifest_of(data)
        found = [f for f in found if stored(f)["identity"]["data"]["manifest"] == manifest] or found
    if len(found) == 1:
        return opened(found[0], ckpt)
    name = type(system).__name__
    if found:
        raise RunNotFoundError(
            f"{len(found)} runs of {name} have these values and were trained on different data: name one by its folder "
            f"({_few([folder.path for folder in found])})"
        )
    others = [folder.path for n in folder_names(type(system).system()) for folder in run_folders(root, n)]
    held = f"those there are: {_few(others)}" if others else f"there is none of it in {root}/"
    raise RunNotFoundError(
        f"no run of {name} with these values: `ostinato fit {name_of(type(system))}` with them trains one, or name "
        f"another by its folder ({held})"
    )


def manifest_of(data: Any) -> str | None:
    """Return the hash of the data's manifest if they are there, without preparing them."""
    try:
        return str(data.fingerprint())
    except (OstinatoError, OSError):
        return None


def _few(paths: Sequence[Path]) -> str:
    newest = sorted(paths, key=lambda path: (path / "config.yaml").stat().st_mtime, reverse=True)
    more = f" and {len(newest) - 3} more" if len(newest) > 3 else ""
    return ", ".join(map(str, newest[:3])) + more


def opened(folder: RunFolder, ckpt: str | int = "last") -> Run:
    """Return the run of a folder.

    Raises:
        RunNotFoundError: the folder holds none.
        DamagedFileError: its configuration is damaged.
    """
    config = folder.stored_config(PARTS)
    if config is None:
        raise RunNotFoundError(_not_there(folder.path))
    return Run(folder, config, ckpt)


def opened_release(path: str | Path, ckpt: str | int = "last") -> ReleasedRun:
    """Return the run that a released file stands for.

    Raises:
        ReleaseError: the file is missing, damaged or of another version.
        RunNotFoundError: it holds another step.
    """
    facts = read_facts(path)
    config = {
        "experiment": facts["experiment"].partition(":")[0],
        "identity": {},
        "model": facts["hyperparameters"],
        "release": facts,
    }
    run = ReleasedRun(RunFolder(Path(path).parent), config, Path(path))
    run.check_ckpt(ckpt)
    return run


def is_path(target: str | Path) -> bool:
    """Return whether a target is a path rather than the name of an experiment."""
    text = str(target)
    is_file = text.endswith((".ckpt", ".pt", ".pth", ".safetensors"))
    is_path = isinstance(target, Path) or "/" in text or is_file or (Path(text) / "config.yaml").exists()
    return is_path and not text.endswith(".py")


def _not_there(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist: name a run folder, a checkpoint in one, a released file, or an experiment"
    inside = sorted(str(config.parent) for config in path.glob("*/config.yaml"))
    held = f"it holds {len(inside)} runs: name one, as {inside[0]}" if inside else "it may have been deleted"
    return f"{path} is no run folder, it has no config.yaml ({held})"
