"""Means of tables of listeners and clips, with both as random effects."""

import math

import numpy as np
from scipy import stats

from framework.evaluation.statistics import Difference, Interval, student
from framework.evaluation.variance_components import crossed

LEVEL = 0.95


def mean_rating(table: np.ndarray) -> Interval:
    """Return the mean of a table `(listeners, clips)` with its interval over both; see `crossed`.

    If no listener rated twice, the ratings are independent draws of listeners, and the interval is Student's t.
    """
    if rated_once(table):
        return student(table.ravel(), LEVEL)
    mean = crossed(table, LEVEL)
    return Interval(mean.mean, mean.low, mean.high, mean.count)


def mean_difference(table: np.ndarray) -> Difference:
    """Return the mean of a table of differences `(listeners, clips)` with interval and p over both."""
    if rated_once(table):
        mean = student(table.ravel(), LEVEL)
        known = table[~np.isnan(table)]
        p = float(stats.ttest_1samp(known, 0.0).pvalue) if mean.high > mean.low else math.nan
        return Difference(mean.mean, mean.low, mean.high, mean.count, p)
    found = crossed(table, LEVEL)
    return Difference(found.mean, found.low, found.high, found.count, found.p)


def rated_once(table: np.ndarray) -> bool:
    """Return whether every listener has at most one value in a table `(listeners, clips)`."""
    return bool(((~np.isnan(table)).sum(1) <= 1).all())
