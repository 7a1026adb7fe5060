"""Sweeps that stop when they know: one more seed of each open comparison a round, until all are decided.

Every run of a sweep is compared with the sweep's first one. After each round a sequential test
(`framework.evaluation.sequential`) looks at all trainings so far, and comparisons that are decided get no more seeds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from framework.evaluation.comparison import Comparison
from framework.evaluation.inference import paired_differences
from framework.evaluation.sequential import OPEN, Verdict, verdict
from framework.sweeps.record import PlannedRun
from framework.sweeps.sweep import Sweep, SweepError

FEWEST_SEEDS = 2
"""Seeds of the first round: a single training says nothing about a method."""


@dataclass(frozen=True)
class Round:
    """What is known after a round.

    Args:
        verdicts: The verdict of each run that is compared with the baseline, by its label without the seed.
        seeds: How many seeds each run has, the baseline included.
    """

    verdicts: dict[str, Verdict]
    seeds: dict[str, int]

    @property
    def open(self) -> list[str]:
        """Labels of the comparisons that are not decided."""
        return [label for label, found in self.verdicts.items() if found.answer == OPEN]


def with_seeds(sweep: Sweep, count: int) -> Sweep:
    """Return a sweep with this number of seeds of each run.

    Raises:
        SweepError: the sweep lists its seeds and there are fewer.
    """

    def of(part: Sweep) -> Sweep:
        if isinstance(part.seeds, int):
            return replace(part, seeds=count)
        if len(part.seeds) < count:
            raise SweepError(f"the sweep lists {len(part.seeds)} seeds, and {count} may be needed: list more of them")
        return replace(part, seeds=list(part.seeds)[:count])

    first, *others = [of(part) for part in sweep.parts]
    return replace(first, also=tuple(others))


def columns_of(runs: Sequence[PlannedRun]) -> dict[str, list[PlannedRun]]:
    """Return the seeds of each run, in their order, by the run's label without the seed."""
    found: dict[str, list[PlannedRun]] = {}
    for run in runs:
        found.setdefault(run.label.removesuffix(f" seed={run.seed}"), []).append(run)
    return found


def rounds(
    runs: Sequence[PlannedRun],
    metric: str,
    better: str,
    train: Callable[[list[PlannedRun]], bool],
    differences: Callable[[list[PlannedRun]], Mapping[str, np.ndarray]],
    alpha: float = 0.05,
    smallest: float | None = None,
) -> Iterator[Round]:
    """Train round after round, and yield what is known after each, until all is decided or no seed is left.

    The probability of any false decision among all comparisons of the sweep is at most alpha: each of n comparisons is
    tested at alpha / n.

    Args:
        runs: All runs that may be trained; the first one and its other seeds are the baseline.
        metric: The metric that decides.
        better: `lower` or `higher` values of it are better.
        train: Trains runs; returns whether all are finished.
        differences: Returns, by label, the differences of the metric to the baseline `(pairs of trainings,
            recordings)`.
        alpha: Greatest probability of a false decision in the sweep.
        smallest: Smallest difference of interest; smaller ones are answered by `equal`.

    Raises:
        SweepError: there is nothing to compare, or the metric is the same for all seeds of all runs.
    """
    columns = columns_of(runs)
    baseline, *others = columns
    if not others:
        raise SweepError("a single run cannot be compared: --until needs a sweep of two runs or more")
    most = min(map(len, columns.values()))
    if most < FEWEST_SEEDS:
        raise SweepError(f"--until needs {FEWEST_SEEDS} seeds or more of every run, and there is {most}")
    undecided, verdicts = list(others), dict[str, Verdict]()
    taken = dict.fromkeys(columns, 0)
    for count in range(FEWEST_SEEDS, most + 1):
        chosen = [run for label in (baseline, *undecided) for run in columns[label][:count]]
        if not train(chosen):
            return
        taken |= dict.fromkeys((baseline, *undecided), count)
        known = differences(chosen)
        for label in undecided:
            table = known[label]
            if count == most and not table.any():
                raise SweepError(f"{metric} of {label} and {baseline} is the same in every training: nothing to decide")
            verdicts[label] = verdict(table, alpha / len(others), smallest, better)
        yield Round(dict(verdicts), dict(taken))
        undecided = [label for label in undecided if verdicts[label].answer == OPEN]
        if not undecided:
            return


def differences_of(comparison: Comparison, metric: str) -> dict[str, np.ndarray]:
    """Return each run's differences to the baseline `(pairs of trainings, recordings)`, by the run's name.

    Raises:
        SweepError: the metric has no values of clips, such as a distance between sets.
    """
    scores = comparison.scores.get(metric, {})
    by_seed = {c.name: scores[c.name].by_seed for c in comparison.runs if c.name in scores and scores[c.name].by_seed}
    if len(by_seed) < len(comparison.runs):
        raise SweepError(f"{metric} has no value for each clip of every run: --until needs a metric of clips")
    baseline = by_seed.pop(comparison.baseline)
    return {name: paired_differences(seeds, baseline, comparison.recordings) for name, seeds in by_seed.items()}
