"""Comparing runs: evaluated first where they were not, on the same held-out clips."""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from framework.errors import InvalidValueError, OstinatoError
from framework.evaluation import comparison
from framework.evaluation.columns import run_folder_of, short
from framework.evaluation.comparison import Comparison
from framework.evaluation.evaluation import FILE, Evaluation, EvaluationError, load_evaluation
from framework.evaluation.metrics.distribution import FORMER_NAMES
from framework.evaluation.metrics.regeneration import regeneration_metrics
from framework.evaluation.metrics.shelf import metrics_named
from framework.runs.finding import RUNS
from framework.runs.finished import checkpoint_step
from framework.runs.provenance import few
from framework.workflow.evaluations import default_split, evaluate
from framework.workflow.plan import Plan, resolve
from framework.workflow.run import ReleasedRun, Run
from framework.workflow.runs import run_named


@dataclass(frozen=True)
class Target:
    """One thing to compare.

    Args:
        what: An evaluation, a run, or a plan that stands for one.
        label: What its sweep calls it, without the seed.
    """

    what: Evaluation | Run | Plan
    label: str = ""

    @property
    def title(self) -> str:
        """What is printed of it."""
        if isinstance(self.what, Evaluation):
            return str(self.what.folder)
        return str(self.what.path) if isinstance(self.what, Run) else self.what.name


def compare(
    runs: Iterable[Any],
    baseline: str = "",
    metrics: Sequence[str] = (),
    *,
    split: str = "",
    clips: int | None = None,
    root: str | Path = RUNS,
    name: str = "",
) -> Comparison:
    """Compare runs on the same held-out clips; runs that were not evaluated yet are evaluated first.

    Args:
        runs: Runs, plans, evaluations; paths of runs, checkpoints, releases or evaluations; names of experiments, which
            mean the runs with their values.
        baseline: Name, experiment, signature or folder of the run that differences are taken to; else the first.
        metrics: Names of metrics, in this order; by default all that there are.
        split: Held-out clips: `validation` or `test`; by default `test` where the data have test clips.
        clips: Number of clips; by default as many as were evaluated before.
        root: Folder of all runs, in which names are looked up.
        name: What the comparison is called; by default the names of the runs.

    Raises:
        RunError: there is no such run.
        ComparisonError: the runs cannot be compared.
    """
    targets = [target_of(run, root) for run in runs]
    evaluations = evaluated(targets, split, clips, metrics)
    return compared(targets, evaluations, baseline, metrics, name)


def compared(
    targets: Sequence[Target],
    evaluations: Sequence[Evaluation],
    baseline: str = "",
    metrics: Sequence[str] = (),
    name: str = "",
) -> Comparison:
    """Compare evaluations that stand for targets; print a warning where the runs were trained by different code."""
    warn_of_code(evaluations)
    labels = {found.run: target.label for target, found in zip(targets, evaluations, strict=True) if target.label}
    name = name or ", ".join(dict.fromkeys(short(evaluation) for evaluation in evaluations))
    return comparison.compare(evaluations, baseline, present_names(metrics), name, labels)


def target_of(what: Any, root: str | Path = RUNS, label: str = "") -> Target:
    """Return what a run, an evaluation, a path or a name stands for.

    Raises:
        UnknownExperimentError: there is no such experiment.
        RunError: there is no such run.
    """
    if isinstance(what, (Evaluation, Run, Plan)):
        return Target(what, label)
    path = Path(what) if isinstance(what, (str, Path)) else None
    if path is not None and (path.name == FILE or (path / FILE).is_file()):
        return Target(load_evaluation(path), label)
    run = run_named(what, runs=root) if isinstance(what, (str, Path)) else None
    return Target(resolve(what, runs=root) if run is None else run, label)


def evaluated(
    targets: Sequence[Target], split: str = "", clips: int | None = None, metrics: Sequence[str] = ()
) -> list[Evaluation]:
    """Return an evaluation of each target: those that serve as they are, the others are made.

    Args:
        targets: What is compared.
        split: Held-out clips: `validation` or `test`; by default `test` where the data have test clips.
        clips: Number of clips; by default as many as were evaluated before.
        metrics: Names of metrics that each has to have.
    """
    metrics = present_names(metrics)
    split = split or common_split(targets, clips)
    known = [stored_evaluation(target, split, clips) for target in targets]
    number = clips or next((len(found.clips) for found in known if found), None)
    found = []
    for target, one in zip(targets, known, strict=True):
        if isinstance(target.what, Evaluation):
            found.append(target.what)
            continue
        other = bool(one and clips and len(one.clips) != clips)
        measured = {**one.metrics, **one.distributions, **one.missing} if one else {}
        if one is None or other or any(metric not in measured for metric in metrics):
            # What was measured before is measured again: these values take the place of those.
            again = [m.name for m in (*metrics_named(), *regeneration_metrics(0)) if m.name in measured]
            print(f"evaluating {target.title}", file=sys.stderr, flush=True)
            one = evaluate(
                target.what,
                split=split,
                clips=number,
                metrics=list(dict.fromkeys([*again, *metrics])) if metrics else [],
                name=of_clips(split, clips) if other and clips else "",
            )
        found.append(one)
    return found


def common_split(targets: Sequence[Target], clips: int | None = None) -> str:
    """Return the split on which targets are compared if none is named.

    It is that of the evaluations among them; else `test` where a target has an evaluation of it, or where the data of
    the first target have test clips.
    """
    for target in targets:
        if isinstance(target.what, Evaluation):
            return str(target.what.data.get("split", "validation"))
    if not targets or any(stored_evaluation(target, "test", clips) for target in targets):
        return "test"
    try:
        first = targets[0].what
        plan = replace(first) if isinstance(first, Plan) else resolve(first)
        plan.prepare_data()
        return default_split(plan.data)
    except (OstinatoError, OSError) as error:
        if not all(stored_evaluation(target, "validation", clips) for target in targets):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"warning: compared on validation clips, since the data cannot be opened ({reason})", file=sys.stderr)
        return "validation"


def present_names(metrics: Sequence[str]) -> list[str]:
    """Return the present names of metrics, some of which had others in earlier versions."""
    return [FORMER_NAMES.get(metric, metric) for metric in metrics]


def stored_evaluation(target: Target, split: str, clips: int | None) -> Evaluation | None:
    """Return the evaluation that a target has already; None where it has none, or an older one."""
    run = target.what
    if isinstance(run, Evaluation):
        return run
    if isinstance(run, (Plan, ReleasedRun)):
        return None
    checkpoint = run.checkpoint() if run.checkpoints or run.is_given else None
    name = "_".join([split, *([checkpoint.stem] if checkpoint and checkpoint.stem != "last" else [])])
    for known in [of_clips(split, clips), name] if clips else [name]:
        try:
            found = load_evaluation(run.path / "evaluation" / known)
        except EvaluationError:
            continue
        if not is_older(found, checkpoint):
            return found
    return None


def of_clips(split: str, clips: int) -> str:
    """Return the name of an evaluation of as many clips as are asked for, beside that of more or fewer."""
    return f"{split}_{clips}_clips"


def is_older(found: Evaluation, checkpoint: Path | None) -> bool:
    """Say whether a run was trained further since it was evaluated."""
    if checkpoint is None or checkpoint.stat().st_mtime <= (found.folder / FILE).stat().st_mtime:
        return False
    return checkpoint_step(checkpoint) != found.step


def warn_of_code(evaluations: Sequence[Evaluation]) -> None:
    """Print which runs were trained by other code than the first one, where both have a definition and it differs.

    Raises:
        InvalidValueError: there is nothing to compare.
    """
    if not evaluations:
        raise InvalidValueError("no run to compare: name at least one")
    first, *others = [(short(found), run_folder_of(found)) for found in evaluations]
    sources = first[1].sources()
    for name, folder in others:
        own = folder.sources()
        if changed := [key for key in sources.keys() & own.keys() if sources[key] != own[key]]:
            print(
                f"warning: {name} ({folder.path}) and {first[0]} were trained by different code: "
                f"{few(sorted(changed))}",
                file=sys.stderr,
            )
