"""How sure a number is: intervals, sign-flip tests, corrections for several comparisons, and averages over seeds.

The functions take their values to be independent; `framework.evaluation.inference` handles clips that share a
recording. Values that are missing (`None` or NaN) are left out.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from framework.errors import InvalidValueError

RESAMPLES = 10_000
"""Bootstrap samples of an interval, and random sign flips of a test."""

EXACT = 13
"""Pairs up to which all sign flips are gone through, 8,192 of them."""

FEWEST = 6
"""Clips that it takes to correct the bias of a distance between sets."""

_SEED = 0  # the same values give the same interval, whoever computes it and when

Values = Iterable[float | None]


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; of a single value the ends, of none all three are NaN.

    Args:
        mean: The mean of the values.
        low: Lower end.
        high: Upper end.
        count: How many values there are.
    """

    mean: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Difference(Interval):
    """The mean of paired differences, ours less the baseline's, with its interval.

    Args:
        p: Probability of a mean so far from 0, were the signs of the differences chance; NaN of fewer than 2 pairs.
    """

    p: float


@dataclass(frozen=True)
class Corrected(Interval):
    """A statistic of a whole set, corrected for its bias: `mean`, NaN where it cannot be, with its interval.

    Args:
        uncorrected: The statistic itself, as papers report it.
    """

    uncorrected: float


@dataclass(frozen=True)
class OverSeeds:
    """A value a clip, averaged over seeds, with both spreads.

    Args:
        values: The values of each clip, the mean over the seeds; None where one of them has none.
        clips: The mean with its interval over clips.
        means: The means of each seed, the mean over those clips that all seeds have.
        deviation: Standard deviation of these means (n - 1); NaN of a single seed.
    """

    values: list[float | None]
    clips: Interval
    means: list[float]
    deviation: float


def bootstrap(values: Values, level: float = 0.95) -> Interval:
    """Return the mean over clips with its BCa bootstrap interval (Efron, 1987, section 3; scipy.stats.bootstrap).

    Seeded: the same values give the same interval. BCa corrects the percentile interval for bias and skewness; of few
    clips (under about 10) it is still too narrow, as any interval without a model of the values is.
    """
    sample = present(values)
    if len(sample) < 2 or np.ptp(sample) == 0:
        end = float(sample[0]) if len(sample) > 1 else float("nan")
        return Interval(float(sample.mean()) if len(sample) else float("nan"), end, end, len(sample))
    found = stats.bootstrap(
        (sample,), np.mean, confidence_level=level, n_resamples=RESAMPLES, rng=np.random.default_rng(_SEED)
    ).confidence_interval
    return Interval(float(sample.mean()), float(found.low), float(found.high), len(sample))


def student(values: Values, level: float = 0.95) -> Interval:
    """Return the mean with Student's t interval. The values have to be independent; see `crossed` for those that share
    a listener, a clip or a seed.
    """
    sample = present(values)
    if len(sample) < 2:
        mean = float(sample[0]) if len(sample) else float("nan")
        return Interval(mean, float("nan"), float("nan"), len(sample))
    reach = float(stats.t.ppf(0.5 + level / 2, len(sample) - 1) * stats.sem(sample))
    mean = float(sample.mean())
    return Interval(mean, mean - reach, mean + reach, len(sample))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for being several, in the order given (Holm, 1979): the family's error rate holds.

    The k-th smallest of n is multiplied by n - k + 1, and none is smaller than one before it. NaN is no test: it stays
    and does not count.
    """
    p = np.asarray(p_values, float)
    tests = np.flatnonzero(~np.isnan(p))
    ascending = tests[np.argsort(p[tests], kind="stable")]
    corrected = p.copy()
    factors = np.arange(len(ascending), 0, -1)
    corrected[ascending] = np.minimum(np.maximum.accumulate(p[ascending] * factors), 1.0)
    return corrected.tolist()


def over_seeds(runs: Sequence[Values], level: float = 0.95) -> OverSeeds:
    """Return the values of several seeds of a run, averaged clip by clip, with the spread over clips and over seeds.

    The interval over clips says how much other clips would change the mean, with these seeds; the deviation over seeds
    how much another training would. Neither contains the other.

    Raises:
        ValueError: the runs are of different numbers of clips, or there is none.
    """
    arrays = [as_array(values) for values in runs]
    if len({len(array) for array in arrays}) != 1:
        raise InvalidValueError(
            f"seeds are averaged on the same clips, not on {[len(array) for array in arrays]} of them"
        )
    table = np.stack(arrays)
    averaged = table.mean(0)
    means = table[:, ~np.isnan(averaged)].mean(1) if not np.isnan(averaged).all() else np.full(len(table), np.nan)
    deviation = float(means.std(ddof=1)) if len(means) > 1 else float("nan")
    values = [None if np.isnan(value) else float(value) for value in averaged]
    return OverSeeds(values, bootstrap(values, level), means.tolist(), deviation)


def jackknife(statistic: Callable[[np.ndarray], float], clips: int, level: float = 0.95) -> Corrected:
    """Return a statistic of a whole set of clips, corrected for its bias, with its interval (Quenouille, 1956).

    For distances between distributions, which have no value a clip and are too large of few clips: a bootstrap sample,
    with its repeated clips, has too small a covariance, and its distances are larger still. `statistic` is called with
    the numbers of the clips to use: all of them and all but one, whose mean shows the bias and whose spread is the
    standard error of Student's t interval with n - 1 degrees of freedom (Tukey, 1958).

    What falls with the number of clips as 1/n is corrected; what falls as 1/n^2 remains. It is a third of what the
    corrected statistic of half the clips is larger, and where that is more than three quarters of the standard error
    there is no interval: there are too few clips for so many dimensions.
    """
    whole = np.arange(clips)
    value = statistic(whole)
    if clips < FEWEST:
        return Corrected(math.nan, math.nan, math.nan, clips, value)
    corrected, error = _without_bias(statistic, whole, value)
    halves = [_without_bias(statistic, half, statistic(half))[0] for half in (whole[::2], whole[1::2])]
    remaining = abs(float(np.mean(halves)) - corrected) / 3
    reach = float(stats.t.ppf(0.5 + level / 2, clips - 1) * error) if remaining <= 0.75 * error else math.nan
    return Corrected(corrected, corrected - reach, corrected + reach, clips, value)


def _without_bias(statistic: Callable[[np.ndarray], float], chosen: np.ndarray, value: float) -> tuple[float, float]:
    """Return a statistic of some clips without its bias of the order 1/n, and its standard error."""
    count = len(chosen)
    left_out = np.array([statistic(np.delete(chosen, place)) for place in range(count)])
    return float(count * value - (count - 1) * left_out.mean()), float(np.sqrt((count - 1) * left_out.var()))


def present(values: Values) -> np.ndarray:
    """Return the values that are not missing, as float64."""
    array = as_array(values)
    return array[~np.isnan(array)]


def as_array(values: Values) -> np.ndarray:
    """Return values as float64, NaN where one is missing."""
    return np.array([np.nan if value is None else value for value in values], float)


def sign_flip_p(differences: np.ndarray) -> float:
    """Return the two-sided p of a sign-flip test of independent paired differences; NaN of fewer than 2.

    If both sides were exchangeable, each difference could as well have the other sign (Fisher, 1935, section 21): p is
    the share of all sign flips whose sum is at least as far from 0 as the observed one. Up to `EXACT` pairs all flips
    are counted; beyond, `RESAMPLES` random ones and the observed one (Phipson & Smyth, 2010), so that p is never 0.
    """
    count = len(differences)
    if count < 2:
        return float("nan")
    observed = abs(differences.sum())
    # What is equal in exact arithmetic counts as equal, in whatever order it was summed.
    threshold = observed - 1e-12 * np.abs(differences).sum()
    if count <= EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((np.abs(signs @ differences) >= threshold).mean())
    random = np.random.default_rng(_SEED)
    sums = (random.integers(0, 2, (RESAMPLES, count), np.int8) * 2 - 1) @ differences
    return float((1 + (np.abs(sums) >= threshold).sum()) / (RESAMPLES + 1))
