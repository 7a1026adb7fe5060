"""The columns of a comparison: evaluations grouped by run, with names, changed hyperparameters and costs."""

from collections import ChainMap, Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from framework.errors import OstinatoError
from framework.evaluation.evaluation import Evaluation
from framework.hyperparameters import nearest
from framework.runs.folder import RunError, RunFolder
from framework.runs.identity import canonical, model_of_today

TRUTH, GRIFFIN_LIM = "ground truth", "Griffin-Lim"
SYSTEM = {"system", "combined.system"}
"""Entries of an identity that name the classes of a system."""


class ComparisonError(OstinatoError, ValueError):
    """Runs cannot be compared."""


@dataclass(frozen=True)
class Column:
    """A run with all its seeds, or what runs are held against.

    Args:
        name: What it is called, unlike any other.
        evaluations: One a seed, the smallest seed first.
        reference: `truth` or `griffin_lim`; empty for a run.
        changes: Hyperparameters against the baseline, `{name: (baseline's, own)}`; None where they are not known.
        cost: `parameters`, `real_time_factor`, `seconds_per_step`, `peak_memory`, `device_hours` of the training of
            one seed, `device`; means over the seeds, None for what is not known.
    """

    name: str
    evaluations: tuple[Evaluation, ...]
    reference: str = ""
    changes: dict[str, tuple[Any, Any]] | None = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs; none for a reference."""
        return [] if self.reference else [evaluation.seed for evaluation in self.evaluations]

    @property
    def steps(self) -> list[int]:
        """Training step of each seed's weights."""
        return [] if self.reference else [evaluation.step for evaluation in self.evaluations]

    def values(self, evaluation: Evaluation, metric: str) -> list[float | None]:
        """Return the values of one evaluation, one per clip; empty if the metric was not measured."""
        if self.reference:
            return evaluation.columns.get(self.reference, {}).get(metric, [])
        return evaluation.metrics.get(metric, {}).get("values", [])

    def audio(self, clip: str) -> Path:
        """Return the audio file of a clip, from the first seed."""
        return self.evaluations[0].audio(clip) / f"{self.reference or 'generated'}.wav"


def columns_of(
    evaluations: Sequence[Evaluation], baseline: str = "", given: Mapping[str, str] | None = None
) -> tuple[list[Column], Column]:
    """Return all columns (ground truth, the baseline, the other runs and Griffin-Lim), and the baseline's column.

    Raises:
        ComparisonError: there is no such baseline, it is ambiguous, or seeds of a run are at different steps.
    """
    groups: dict[tuple[str, str], list[Evaluation]] = {}
    for evaluation in evaluations:
        groups.setdefault((evaluation.family, evaluation.folder.name), []).append(evaluation)
    seeds = [tuple(sorted(group, key=lambda e: (e.seed, e.run))) for group in groups.values()]
    for group in seeds:
        check_seeds(group)
    values = [hyperparameters(group[0]) for group in seeds]
    names = names_of(seeds, values, given or {})
    chosen = find(baseline, names, seeds)
    columns = [
        Column(name, group, "", changes(values[chosen], own), cost(group))
        for name, group, own in zip(names, seeds, values, strict=True)
    ]
    first = columns.pop(chosen)
    # All evaluations have the same ground truth. Griffin-Lim depends on the mel front end; the baseline's is used.
    references = [
        Column(TRUTH, first.evaluations[:1], "truth"),
        Column(GRIFFIN_LIM, first.evaluations[:1], "griffin_lim"),
    ]
    return [references[0], first, *columns, references[1]], first


def check_seeds(group: Sequence[Evaluation]) -> None:
    """Check that evaluations are seeds of the same training at the same step.

    Raises:
        ComparisonError: the steps differ.
    """
    steps = {e.step for e in group if Path(e.checkpoint).stem != "best"}
    if len(steps) > 1:
        reached = " and ".join(f"{step:,}" for step in sorted(steps))
        raise ComparisonError(
            f"seeds of {label(group[0])} are at steps {reached} and cannot be averaged; finish them with "
            "`ostinato fit`, or leave out what is unfinished"
        )


def run_folder_of(evaluation: Evaluation) -> RunFolder:
    """Return the folder of the run that was evaluated."""
    return RunFolder(evaluation.folder.parent.parent)


def label(evaluation: Evaluation) -> str:
    """Return the name of an evaluation in messages."""
    return f"{short(evaluation)} ({evaluation.run})"


def short(evaluation: Evaluation) -> str:
    """Return the last part of an experiment's name."""
    return evaluation.experiment.rpartition(".")[2]


def hyperparameters(evaluation: Evaluation) -> ChainMap[str, Any] | None:
    """Return all values of a run that can change its result, except the seed, by dotted name; None if not known.

    All other values of the model follow them, including those that are not part of the identity.
    """
    try:
        config = run_folder_of(evaluation).stored_config() or {}
    except RunError:
        config = {}
    if "identity" not in config:
        return None
    identity = {name: value for name, value in config["identity"].items() if name not in ("seed", "version")}
    if "model" in identity:
        identity["model"] = model_of_today(config.get("experiment", ""), identity)
    return ChainMap(flat(identity), flat({"model": config.get("model", {})}))


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested values by dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def changes(baseline: ChainMap[str, Any] | None, own: ChainMap[str, Any] | None) -> dict[str, tuple[Any, Any]] | None:
    """Return the changed values of a run as `{name: (baseline's value, own value)}`; absent values are None."""
    if baseline is None or own is None:
        return None
    return {
        name: (baseline.get(name), own.get(name))
        for name in {**baseline.maps[0], **own.maps[0]}
        if canonical(baseline.get(name)) != canonical(own.get(name))
    }


def names_of(
    groups: Sequence[Sequence[Evaluation]], values: Sequence[ChainMap[str, Any] | None], given: Mapping[str, str]
) -> list[str]:
    """Return a name for each run: the given one, or the experiment's name with the values that differ between runs."""
    experiments = [short(group[0]) for group in groups]
    kinds = {group[0].folder.name for group in groups}
    names = []
    for group, experiment, own in zip(groups, experiments, values, strict=True):
        others = [v for v, e in zip(values, experiments, strict=True) if e == experiment and v is not own and v]
        apart = {n for other in others for n in (changes(other, own) or {})}
        parts = [_system_name(own)] if apart & SYSTEM else []
        parts += [f"{n.removeprefix('model.')}={_value(own, n)}" for n in sorted(apart - SYSTEM)]
        kind = [f"({group[0].folder.name})"] if len(kinds) > 1 else []
        names.append(" ".join([given.get(group[0].run) or " ".join([experiment, *parts]), *kind]))
    counts = Counter(names)
    return [f"{n} {g[0].run[:6]}" if counts[n] > 1 else n for n, g in zip(names, groups, strict=True)]


def find(baseline: str, names: Sequence[str], groups: Sequence[Sequence[Evaluation]]) -> int:
    """Return the index of the run that `baseline` names; 0 if it is empty.

    Raises:
        ComparisonError: no run, or several runs, match.
    """
    if not baseline:
        return 0
    known = [
        {name, short(group[0]), group[0].experiment, group[0].experiment.partition(".")[2]}
        | {e.run for e in group}
        | {group[0].family}
        for name, group in zip(names, groups, strict=True)
    ]
    path = Path(baseline).resolve()
    found = [i for i, name in enumerate(names) if name == baseline] or [
        i
        for i, (words, group) in enumerate(zip(known, groups, strict=True))
        if baseline in words or any(path in (e.folder.resolve(), *e.folder.resolve().parents[:2]) for e in group)
    ]
    if len(found) > 1:
        raise ComparisonError(f"--baseline {baseline} is ambiguous: {' or '.join(repr(names[i]) for i in found)}")
    if not found:
        raise ComparisonError(f"--baseline {baseline} is not one of the compared runs: {nearest(baseline, names)}")
    return found[0]


def cost(group: Sequence[Evaluation]) -> dict[str, Any]:
    """Return the costs of a run, averaged over its seeds."""
    found = {
        name: _mean([e.cost.get(name) for e in group])
        for name in ("parameters", "real_time_factor", "seconds_per_step", "peak_memory")
    }
    found["device_hours"] = _mean([device_hours(e) for e in group])
    return found | {"device": " / ".join(dict.fromkeys(str(e.cost.get("device")) for e in group))}


def device_hours(evaluation: Evaluation) -> float | None:
    """Return the device hours of the training: number of steps times the median step time times devices."""
    seconds = evaluation.cost.get("seconds_per_step")
    if seconds is None:
        return None
    try:
        trainer = (run_folder_of(evaluation).stored_config() or {}).get("trainer", {})
    except RunError:
        trainer = {}
    counts = [trainer.get(name) for name in ("devices", "num_nodes")]
    devices = 1
    for count in counts:
        devices *= int(count) if isinstance(count, int) or str(count).isdigit() else 1
    return seconds * evaluation.step * devices / 3600


def _system_name(values: ChainMap[str, Any] | None) -> str:
    """Return the names of the classes of a run's system."""
    paths = _value(values, "combined.system") or [str(_value(values, "system"))]
    return "+".join(path.rpartition(":")[2] for path in paths)


def _value(values: ChainMap[str, Any] | None, name: str) -> Any:
    return values.get(name) if values is not None else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) and known else None
