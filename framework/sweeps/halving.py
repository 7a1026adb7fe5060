"""Successive halving (Jamieson and Talwalkar, 2016, algorithm 1)."""

import math
from collections.abc import Callable, Sequence

from framework.hyperparameters import nearest
from framework.sweeps.local import LocalLauncher, Task
from framework.sweeps.record import PlannedRun, metric_at, newest_rows
from framework.sweeps.sweep import SweepError


def rungs(run: PlannedRun, families: int, factor: int) -> list[int]:
    """Return the steps at which the runs pause, from one validation interval to `max_steps / factor`.

    Raises:
        SweepError: the run is too short to be compared before its end.
    """
    steps: list[int] = []
    step, left = run.max_steps, families
    while left > 1:
        step, left = step // factor, math.ceil(left / factor)
        aligned = step // run.interval * run.interval
        if aligned and aligned < run.max_steps and aligned not in steps:
            steps.append(aligned)
    if not steps:
        raise SweepError(
            f"halving needs a validation before {run.max_steps // factor} steps (a {factor}th of the training): "
            f"lower --trainer.val_check_interval from {run.interval}, or leave --halving out"
        )
    return sorted(steps)


def best(runs: Sequence[PlannedRun], step: int, factor: int) -> list[PlannedRun]:
    """Return the better part of the families at a step, by the mean metric of their seeds; lower is better.

    A family with a run that failed before the step is the worst.

    Raises:
        SweepError: no run has the metric.
    """
    families: dict[str, list[PlannedRun]] = {}
    for run in runs:
        families.setdefault(run.family, []).append(run)

    measured = {run.signature: metric_at(run, step, run.monitor) for run in runs}
    if all(value is None for value in measured.values()):
        columns = {name for run in runs for row in newest_rows(run)[-1:] for name in row}
        known = [name for name in columns if name.startswith("validation/")]
        raise SweepError(f"no run was measured by {runs[0].monitor} at step {step}: {nearest(runs[0].monitor, known)}")

    def mean(family: str) -> float:
        values = [measured[run.signature] for run in families[family]]
        return sum(math.inf if value is None else value for value in values) / len(values)

    kept = sorted(families, key=mean)[: math.ceil(len(families) / factor)]
    return [run for run in runs if run.family in kept]


def halve(
    runs: Sequence[PlannedRun],
    factor: int,
    launcher: Callable[[Sequence[PlannedRun], int | None], LocalLauncher],
    say: Callable[[str], None] = print,
) -> tuple[list[Task], int | None]:
    """Run successive halving; return the final state of each run, and the signal that ended the sweep, if any.

    Runs that are dropped keep their checkpoints; the same sweep without halving continues them.
    """
    if factor < 2:
        raise SweepError(f"--halving {factor}: a factor of at least 2 is needed")
    if len({run.max_steps for run in runs}) > 1 or len({run.interval for run in runs}) > 1:
        raise SweepError("halving compares at the same step: trainer.max_steps and val_check_interval have to be equal")
    last: dict[str, Task] = {}
    for step in [*rungs(runs[0], len({run.family for run in runs}), factor), None]:
        say(f"{len(runs)} runs to {'the end' if step is None else f'step {step}'}")
        made = launcher(runs, step)
        last |= {task.run.signature: task for task in made.run()}
        if made.stopped is not None or step is None:
            return list(last.values()), made.stopped
        kept = best(runs, step, factor)
        for run in runs:
            if run not in kept:
                last[run.signature].reason = f"left behind at step {step}"
                say(f"{run.label}: left behind at step {step} ({run.monitor} {metric_at(run, step, run.monitor)})")
        runs = kept
    raise AssertionError("the last rung is the end")
