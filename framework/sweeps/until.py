"""Sweeps that stop when they know: one more seed of each open comparison a round, until all are decided.

Every run of a sweep is compared with the sweep's first one. After each round a sequential test
(`framework.evaluation.sequential`) looks at all trainings so far, and comparisons that are decided get no more seeds.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from framework.evaluation.comparison import Comparison
from framework.evaluation.inference import recording_values
from framework.evaluation.sequential import OPEN, Verdict, verdict
from framework.evaluation.statistics import as_array
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
        trained: The runs that this round trained or found finished.
    """

    verdicts: dict[str, Verdict]
    seeds: dict[str, int]
    trained: list[PlannedRun]

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
    values: Callable[[list[PlannedRun]], Mapping[str, Mapping[int, np.ndarray]]],
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
        values: Returns, by label and seed, the values of the metric for each recording.
        alpha: Greatest probability of a false decision in the sweep.
        smallest: Smallest difference of interest; smaller ones are answered by `equal`.

    Raises:
        SweepError: there is nothing to compare, or the metric is the same for all seeds of all runs.
    """
    columns = columns_of(runs)
    baseline, *others = columns
    if not others:
        raise SweepError("one run alone has nothing to be compared with: --until needs a sweep of two runs or more")
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
        known = values(chosen)
        for label in undecided:
            table = differences(known[label], known[baseline])
            if count == most and not table.any():
                raise SweepError(f"{metric} of {label} and {baseline} is the same in every training: nothing to decide")
            verdicts[label] = verdict(table, alpha / len(others), smallest, better)
        yield Round(dict(verdicts), dict(taken), chosen)
        undecided = [label for label in undecided if verdicts[label].answer == OPEN]
        if not undecided:
            return


def differences(ours: Mapping[int, np.ndarray], baseline: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return ours minus the baseline `(pairs, recordings)`, of pairs of trainings with the same seed."""
    return np.stack([ours[seed] - baseline[seed] for seed in ours if seed in baseline])


def values_by_recording(comparison: Comparison, metric: str) -> dict[str, dict[int, np.ndarray]]:
    """Return the values of a metric for each recording, by run and seed.

    Clips that have no value in some training are left out of all.

    Raises:
        SweepError: the metric has no values of clips, such as a distance between sets.
    """
    scores = comparison.scores.get(metric, {})
    by_run = {c.name: scores[c.name].by_seed for c in comparison.runs if c.name in scores and scores[c.name].by_seed}
    if len(by_run) < len(comparison.runs):
        raise SweepError(f"{metric} has no value for each clip of every run: --until needs a metric of clips")
    arrays = {run: {seed: as_array(values) for seed, values in seeds.items()} for run, seeds in by_run.items()}
    missing = np.isnan(np.stack([array for seeds in arrays.values() for array in seeds.values()])).any(0)
    for seeds in arrays.values():
        for array in seeds.values():
            array[missing] = np.nan
    return {
        run: {seed: recording_values(array.tolist(), comparison.recordings) for seed, array in seeds.items()}
        for run, seeds in arrays.items()
    }
