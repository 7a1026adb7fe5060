"""Planning a sweep: its runs are checked, deduplicated and found by signature, and their cost is estimated."""

import functools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framework.catalogue import UnknownExperimentError, find, name_of
from framework.hyperparameters import Hyperparameters
from framework.runs.finding import RUNS
from framework.runs.folder import RunError, folder_names, run_folder
from framework.runs.identity import family, signature
from framework.runs.provenance import change_since, sources_of
from framework.runs.sources import Sources
from framework.runs.stored_files import DamagedFileError, read_config
from framework.sweeps.record import PlannedRun, progress
from framework.sweeps.sweep import Choice, Sweep, SweepError, argument
from framework.workflow import plan as workflow
from framework.workflow.experiment import Reader, on_recordings, option
from framework.workflow.parser import UsageError
from framework.workflow.runs import manifest_of

NEWEST = 8
"""Number of the latest runs of the same system from which the cost is estimated."""
UNPREPARED = "its data are not prepared yet"
"""Note of a run whose identity is not known, as it depends on the data."""


@dataclass(frozen=True)
class Plan:
    """The runs of a sweep.

    Args:
        name: The sweep's name.
        question: The question that the sweep answers.
        runs: The runs, each once.
        equal: Labels of runs that are equal to another run, by the label of that run.
        root: Folder of all runs.
    """

    name: str
    question: str
    runs: list[PlannedRun]
    equal: dict[str, str]
    root: Path


def make_plan(
    name: str,
    sweep: Sweep,
    overrides: Sequence[str] = (),
    question: str = "",
    metric: str = "",
    prepares_data: bool = True,
) -> Plan:
    """Resolve every run of a sweep.

    Args:
        name: The sweep's name.
        sweep: The sweep.
        overrides: Arguments of the command line that apply to all runs.
        question: The question that the sweep answers.
        metric: Metric in the place of that by which each experiment chooses its best checkpoint.
        prepares_data: Whether data are prepared that are not there, as the identity of a run depends on them. If not,
            runs on such data have a note.

    Raises:
        SweepError: a name or a value does not exist.
    """
    given = {word[2:].partition("=")[0] for word in overrides if word.startswith("--")}
    for taken in given & sweep.varied:
        raise SweepError(f"{name} gives values to {taken} itself: change them there, or leave --{taken} out")
    readers: dict[Any, Reader] = {}
    runs: dict[str, PlannedRun] = {}
    equal: dict[str, str] = {}
    root = Path(RUNS)
    sources = Sources()
    for choice in sweep.choices():
        try:
            run, root = _resolve(choice, list(overrides), readers, sweep.varied, sources, prepares_data)
        except (UsageError, UnknownExperimentError, TypeError) as error:
            raise SweepError(f"{name}, {_label(choice, 0, set(choice.values))}: {error}") from None
        if run.signature in runs:
            equal[run.label] = runs[run.signature].label
        else:
            runs[run.signature] = replace(run, monitor=metric or run.monitor)
    return Plan(name, question, list(runs.values()), equal, root)


def _resolve(
    choice: Choice,
    overrides: list[str],
    readers: dict[Any, Reader],
    varied: set[str],
    sources: Sources,
    prepares_data: bool,
) -> tuple[PlannedRun, Path]:
    experiment: Any = choice.experiment
    name = name_of(experiment)
    found: Any = find(name)
    if found is not experiment:
        raise SweepError(f"{experiment.__name__} is not what {name} is called by: write a class of its own below it")
    own: int = experiment.seed
    seed = choice.seed if choice.seed is not None else own + choice.seed_offset
    arguments = [argument(key, value) for key, value in choice.values.items()]
    # The experiment's own seed is left out, so that the command is the one that a person would write.
    arguments += [f"--seed={seed}"] if seed != own else []
    arguments += overrides
    trained, parsed = on_recordings(experiment, arguments)
    # The values of a checkpoint that is trained further are the defaults of a reader.
    kind = (experiment, option("ckpt_path", parsed), *(word for word in arguments if word not in parsed))
    if kind not in readers:
        readers[kind] = Reader(trained, parsed)
    plan = readers[kind].read(parsed).plan
    if prepares_data:
        plan.prepare_data()
    manifest = str(plan.data.fingerprint()) if prepares_data else manifest_of(plan.data)
    identity, system = plan.identity(manifest or ""), type(plan.described)
    folder = run_folder(plan.runs, system.system(), signature(identity))
    run = PlannedRun(
        label=_label(choice, plan.seed, varied),
        experiment=name,
        arguments=tuple(arguments),
        path=folder.path,
        signature=signature(identity),
        family=family(identity),
        seed=plan.seed,
        values={key: value for key, value in choice.values.items() if key in varied},
        max_steps=plan.settings["max_steps"],
        interval=plan.validation_interval,
        batch_size=plan.data.batch_size,
        monitor=system.monitor,
    )
    note, outdated = _note(run, plan, sources) if manifest else (UNPREPARED, False)
    return replace(run, note=note, outdated=outdated), Path(plan.runs)


def _label(choice: Choice, seed: int, varied: set[str]) -> str:
    values = (f"{key.rpartition('.')[2]}={value}" for key, value in choice.values.items() if key in varied)
    return " ".join([choice.experiment.__name__, *values, *([f"seed={seed}"] if "seed" in varied else [])])


def _note(run: PlannedRun, plan: workflow.Plan, sources: Sources) -> tuple[str, bool]:
    """Return what is to be known of a run that exists, and whether it was trained by other code."""
    try:
        stored = run.folder.stored_config()
    except DamagedFileError:
        return "its config.yaml is damaged", False
    if not stored:
        return "", False
    if not isinstance(stored.get("provenance"), dict):
        return "its config.yaml is of another version", False
    change = change_since(run.folder, sources_of(plan.described, type(plan.data), sources))
    return f"trained by other code: {change}" if change else "", bool(change)


@dataclass(frozen=True)
class Estimate:
    """Estimated remaining hours of a run, and the basis of the estimate; None if unknown."""

    hours: float | None
    source: str


def estimate(run: PlannedRun, root: Path) -> Estimate:
    """Return the cost of what is left of a run, by the speed of its family, else of the same system, else any parent's.

    The time of validations is not included.
    """
    if run.state() == "finished":
        return Estimate(0.0, "finished")
    system = run.path.parent
    for source, folders in _relatives(run, root, system):
        speeds = [s for folder in folders if (s := seconds_per_step(folder, run)) is not None]
        if speeds:
            left = max(run.max_steps - progress(run).step, 0)
            return Estimate(statistics.median(speeds) * left / 3600, source)
    return Estimate(None, "unknown")


def _relatives(run: PlannedRun, root: Path, system: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield folders of runs that cost about the same, the nearest relatives first."""
    yield "this run", [run.path]
    same = _newest(system)
    kin = [folder for folder in same if _family(folder) == run.family]
    yield "the same, other seeds", kin
    yield "the same system", same
    parents = (base for base in find(run.experiment).__mro__[1:] if issubclass(base, Hyperparameters))
    for name in dict.fromkeys(name for base in parents for name in folder_names(base)):
        if (root / name).is_dir() and name != system.name:
            yield f"roughly, from {name}", _newest(root / name)


def _newest(system: Path) -> list[Path]:
    found = [path.parent for path in system.glob("*/metrics.csv")]
    return sorted(found, key=lambda folder: (folder / "metrics.csv").stat().st_mtime, reverse=True)[:NEWEST]


def _family(folder: Path) -> str:
    try:
        return _read_family(folder / "config.yaml", (folder / "config.yaml").stat().st_mtime_ns)
    except (OSError, DamagedFileError):
        return ""


@functools.cache
def _read_family(path: Path, changed: int) -> str:
    return str((read_config(path) or {}).get("family", ""))


def seconds_per_step(folder: Path, run: PlannedRun) -> float | None:
    """Return the median seconds of a run's steps, as if its batches had the size of another's."""
    return progress(replace(run, path=folder)).seconds_per_step


def check_folders(plan: Plan) -> None:
    """Refuse a plan whose folder of runs cannot be written to.

    Raises:
        RunError: naming it.
    """
    try:
        (plan.root / "sweeps").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{plan.root} cannot be written to ({error.strerror}): name another folder by --runs") from None
