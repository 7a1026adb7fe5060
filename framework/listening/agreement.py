"""Krippendorff's alpha: agreement of the listeners beyond chance."""

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Level = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(ratings: ArrayLike, level: Level = "interval") -> float:
    """Return Krippendorff's alpha (Krippendorff, 2011, "Computing Krippendorff's alpha-reliability").

        alpha = 1 - D_o / D_e

    with the observed disagreement D_o of ratings of the same unit, and the expected disagreement D_e of all ratings. 1
    is perfect agreement, 0 is agreement by chance, and values below 0 are systematic disagreement.

    Args:
        ratings: `(listeners, units)`; NaN if a listener did not rate a unit. Units with a single rating are ignored.
        level: Level of measurement, which defines the difference of two ratings: `nominal` (equal or not), `ordinal`
            (number of ratings between them) or `interval` (squared difference).

    Returns:
        Alpha; NaN if no unit has two ratings or if all ratings are equal.
    """
    table = np.asarray(ratings, float)
    present = ~np.isnan(table)
    table = np.where(present & (present.sum(0) > 1), table, np.nan)
    values, codes = np.unique(table[~np.isnan(table)], return_inverse=True)
    if len(values) < 2:
        return math.nan
    counts = np.zeros((table.shape[1], len(values)))  # number of ratings with each value in each unit
    np.add.at(counts, (np.nonzero(~np.isnan(table))[1], codes), 1)
    counts = counts[counts.sum(1) > 0]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(values))
    coincidences = (pairs / (counts.sum(1) - 1)[:, None, None]).sum(0)
    totals = counts.sum(0)
    squares = squared_differences(values, totals, level)
    expected = (np.outer(totals, totals) - np.diag(totals)) / (totals.sum() - 1)
    return float(1 - (coincidences * squares).sum() / (expected * squares).sum())


def squared_differences(values: np.ndarray, totals: np.ndarray, level: Level) -> np.ndarray:
    """Return the squared differences `(values, values)` of ascending values, given the number of ratings of each."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    places = values if level == "interval" else np.cumsum(totals) - totals / 2
    return np.square(places[:, None] - places[None, :])
