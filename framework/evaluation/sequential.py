"""Sequential tests: trainings are added one at a time, and a comparison stops when it is decided.

A fixed test that is repeated after every training and stopped at the first p < 0.05 gives far more than 5 % false
decisions. The test here may be looked at after every training and stopped whenever one likes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from framework.errors import InvalidValueError
from framework.evaluation.statistics import Interval
from framework.evaluation.variance_components import crossed

PRIOR_VARIANCE = 10.0
"""Variance of the true difference under the alternative, relative to the variance between trainings. Differences that
are worth reporting are several standard deviations of trainings; a false decision is as rare with any value."""

BETTER, WORSE, EQUAL, OPEN = "better", "worse", "equal", "open"
"""What a comparison has shown: EQUAL is a difference smaller than the one that was asked for, OPEN is nothing yet."""


@dataclass(frozen=True)
class Verdict:
    """What the trainings so far show.

    Args:
        answer: `better`, `worse`, `equal` or `open`, of ours beside the baseline.
        evidence: The e-value against equal methods: 1 / alpha or more rejects them.
        difference: The mean difference with its confidence sequence, valid after any number of trainings.
    """

    answer: str
    evidence: float
    difference: Interval


def e_value(differences: Sequence[float], null: float = 0.0, prior_variance: float = PRIOR_VARIANCE) -> float:
    """Return the evidence of paired differences against a mean of `null`, whatever their variance.

    The Bayes factor of Student's t with a normal prior of the standardised mean and the right Haar prior of the
    variance (Hendriksen, de Heide & Grünwald, 2021, section 3; Wang & Ramdas, 2024):

        (1 + n g)^(-1/2) ((1 + t^2 / (n - 1)) / (1 + t^2 / ((1 + n g) (n - 1))))^(n / 2)

    If the true mean is `null`, the probability that it ever reaches 1 / alpha is at most alpha.

    Args:
        differences: Independent, normally distributed differences of pairs of trainings.
        null: The mean that is tested.
        prior_variance: g.

    Returns:
        1 of fewer than 2 differences.
    """
    values = np.asarray(differences, float) - null
    count = len(values)
    if count < 2:
        return 1.0
    spread = float(((values - values.mean()) ** 2).sum())
    shift = count * float(values.mean()) ** 2
    if spread == 0:
        # Equal differences: the limit of t.
        return 1.0 if shift == 0 else (1 + count * prior_variance) ** ((count - 1) / 2)
    square = shift / spread  # t^2 / (n - 1)
    growth = 1 + count * prior_variance
    return math.exp(count / 2 * (math.log1p(square) - math.log1p(square / growth)) - math.log(growth) / 2)


def confidence_sequence(
    differences: Sequence[float], level: float = 0.95, prior_variance: float = PRIOR_VARIANCE
) -> Interval:
    """Return the mean with the interval of all means that `e_value` does not reject.

    It covers the true mean after every number of trainings at once with at least this probability. The ends are
    infinite while the trainings are too few to reject any mean.

    Args:
        differences: Independent, normally distributed differences of pairs of trainings.
        level: The level of the sequence.
        prior_variance: As in `e_value`.
    """
    values = np.asarray(differences, float)
    mean = float(values.mean()) if len(values) else math.nan
    threshold = 1 / (1 - level)
    spread = float(values.std()) if len(values) else 0.0
    greatest = (1 + len(values) * prior_variance) ** ((len(values) - 1) / 2) if len(values) > 1 else 1.0
    if greatest <= threshold:
        return Interval(mean, -math.inf, math.inf, len(values))
    if spread == 0:
        return Interval(mean, mean, mean, len(values))

    def excess(shift: float) -> float:
        return e_value(values.tolist(), mean - shift, prior_variance) - threshold

    upper = spread
    while excess(upper) < 0:
        upper *= 2
    reach = float(optimize.brentq(excess, 0.0, upper, xtol=1e-12 * upper, rtol=1e-10))
    return Interval(mean, mean - reach, mean + reach, len(values))


def verdict(table: ArrayLike, alpha: float = 0.05, smallest: float | None = None, better: str = "lower") -> Verdict:
    """Return what the trainings so far show of two methods.

    A difference is decided when two conditions hold: the e-value over trainings reaches 1 / alpha, so that one may look
    after every training; and the interval over trainings and recordings (`crossed`), at the level 1 - alpha / 2,
    excludes 0, so that the statement is not about these recordings alone. The recordings stay the same, so that looking
    at this interval after every training adds little to its error; half of alpha makes up for it.

    Args:
        table: Differences, ours minus the baseline, `(pairs of trainings, recordings)`.
        alpha: Greatest probability of a decision between equal methods.
        smallest: Smallest difference of interest: the answer is `equal` once the confidence sequence lies within
            this distance from 0. None never answers `equal`.
        better: `lower` or `higher` values are better.

    Raises:
        InvalidValueError: alpha is not between 0 and 1, `smallest` is not positive, or `better` is neither word.
    """
    if not 0 < alpha < 1:
        raise InvalidValueError(f"alpha = {alpha}: must be between 0 and 1, such as 0.05")
    if smallest is not None and not smallest > 0:
        raise InvalidValueError(f"smallest = {smallest}: must be more than 0")
    if better not in ("lower", "higher"):
        raise InvalidValueError(f"better = {better!r}: must be 'lower' or 'higher'")
    values = np.asarray(table, float)
    values = values[:, ~np.isnan(values).any(0)]
    means = values.mean(1).tolist() if values.size else []
    evidence, sequence = e_value(means), confidence_sequence(means, 1 - alpha)
    answer = OPEN
    if evidence >= 1 / alpha:
        both = crossed(values, 1 - alpha / 2) if values.shape[1] > 1 else sequence
        if both.low > 0 or both.high < 0:
            answer = BETTER if (sequence.mean < 0) == (better == "lower") else WORSE
    if answer == OPEN and smallest is not None and -smallest < sequence.low and sequence.high < smallest:
        answer = EQUAL
    return Verdict(answer, evidence, sequence)
