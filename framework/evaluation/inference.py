"""What differences between runs say: of these trained networks, and of the methods that they are examples of.

There are two questions. *Do these networks differ?* Other recordings are the sample, and the seeds that were trained
are given. *Do the methods differ?* Other trainings are the sample too, crossed with the recordings; a single seed
cannot answer it. Clips of one recording are not independent, so that the unit is the recording in both.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from framework.errors import InvalidValueError
from framework.evaluation.statistics import (
    Difference,
    Interval,
    OverSeeds,
    Values,
    as_array,
    bootstrap,
    over_seeds,
    sign_flip_p,
    student,
)
from framework.evaluation.variance_components import crossed

FEWEST_FOR_BOOTSTRAP = 10
"""Recordings from which on intervals are BCa bootstrap intervals; of fewer, those are too narrow, and Student's t is
used."""

_CLIP_NUMBER = re.compile(r"-\d{2,4}$")


def recording_of(clip: str) -> str:
    """Return the recording of a clip by its name, for evaluations that do not store it: `song-0003` is of `song`."""
    return _CLIP_NUMBER.sub("", clip)


def recording_values(values: Values, recordings: Sequence[str]) -> np.ndarray:
    """Return a value of each recording, in the order in which they first appear, whose mean is the mean over clips.

    Of recordings with equally many clips these are the means of their clips. In general, with the sum s and the number
    of clips n of each of G recordings, N clips and a mean over clips of m, they are m + (s - n m) G / N, the
    linearisation of m as a ratio of sums over recordings (Cochran, 1977, section 6.4).

    Args:
        values: One value for each clip; None or NaN where there is none.
        recordings: The recording of each clip.

    Returns:
        float64, without recordings that have no value.

    Raises:
        InvalidValueError: the two have different lengths.
    """
    sums, counts = _sums(values, recordings)
    mean = sums.sum() / max(counts.sum(), 1)
    return mean + (sums - counts * mean) * len(sums) / max(counts.sum(), 1)


def _sums(values: Values, recordings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the sum of the values of each recording that has one, and the number of its clips that have one."""
    array = as_array(values)
    if len(array) != len(recordings):
        raise InvalidValueError(f"{len(array)} values of clips, and recordings of {len(recordings)}")
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for value, recording in zip(array, recordings, strict=True):
        if not math.isnan(value):
            sums[recording] = sums.get(recording, 0.0) + value
            counts[recording] = counts.get(recording, 0) + 1
    return np.array(list(sums.values())), np.array(list(counts.values()), float)


def mean_over_recordings(values: Values, recordings: Sequence[str], level: float = 0.95) -> Interval:
    """Return the mean over clips with its confidence interval over recordings."""
    return _interval(recording_values(values, recordings), level)


def _interval(values: np.ndarray, level: float) -> Interval:
    return bootstrap(values, level) if len(values) >= FEWEST_FOR_BOOTSTRAP else student(values, level)


def seeds_over_recordings(runs: Sequence[Values], recordings: Sequence[str], level: float = 0.95) -> OverSeeds:
    """Return the values of several seeds, averaged clip by clip; `clips` is the interval over recordings."""
    found = over_seeds(runs, level)
    return replace(found, clips=mean_over_recordings(found.values, recordings, level))


def network_difference(ours: Values, baseline: Values, recordings: Sequence[str], level: float = 0.95) -> Difference:
    """Return the mean difference of two networks, its interval over recordings, and p of a sign-flip test.

    The differences of all clips of a recording change their sign together: of 5 recordings or fewer, p cannot be under
    0.05.

    Args:
        ours: One value for each clip, averaged over seeds.
        baseline: The same of the baseline, on the same clips.
        recordings: The recording of each clip.
        level: The level of the interval.

    Raises:
        InvalidValueError: the two are of different numbers of clips.
    """
    left, right = as_array(ours), as_array(baseline)
    if len(left) != len(right):
        raise InvalidValueError(
            f"pairs are of the same clips, and there are {len(left)} values here and {len(right)} there"
        )
    differences = (left - right).tolist()
    interval = mean_over_recordings(differences, recordings, level)
    p = sign_flip_p(_sums(differences, recordings)[0])
    return Difference(interval.mean, interval.low, interval.high, interval.count, p)


def method_difference(
    ours: Mapping[int, Values], baseline: Mapping[int, Values], recordings: Sequence[str], level: float = 0.95
) -> Difference | None:
    """Return the mean difference of two methods over trainings and recordings; None with fewer than 2 seeds of each.

    The table of differences, one row for each pair of trainings and one column for each recording, has both rows and
    columns drawn at random (`framework.evaluation.variance_components.crossed`). Trainings with the same seed, which
    see the data in the same order, are pairs; of the others each is paired with one in the order of their seeds, and
    what is left of the longer side is not used.

    Args:
        ours: By seed, one value for each clip.
        baseline: The same of the baseline, on the same clips.
        recordings: The recording of each clip.
        level: The level of the interval.
    """
    if len(paired_seeds(list(ours), list(baseline))) < 2:
        return None
    table = paired_differences(ours, baseline, recordings)
    found = crossed(table, level)
    return Difference(found.mean, found.low, found.high, len(table), found.p)


def paired_differences(
    ours: Mapping[int, Values], baseline: Mapping[int, Values], recordings: Sequence[str]
) -> np.ndarray:
    """Return the differences of pairs of trainings (`paired_seeds`) for each recording `(pairs, recordings)`.

    A clip without a value in any training takes no part, so that all rows are of the same clips.

    Args:
        ours: By seed, one value for each clip.
        baseline: The same of the baseline, on the same clips.
        recordings: The recording of each clip.
    """
    pairs = paired_seeds(list(ours), list(baseline))
    table = np.stack([as_array(ours[one]) - as_array(baseline[other]) for one, other in pairs])
    table[:, np.isnan(table).any(0)] = np.nan
    return np.stack([recording_values(row.tolist(), recordings) for row in table])


def paired_seeds(ours: Sequence[int], baseline: Sequence[int]) -> list[tuple[int, int]]:
    """Return pairs of seeds: first those that both have, then the others in order."""
    both = sorted(set(ours) & set(baseline))
    rest = (sorted(set(seeds) - set(both)) for seeds in (ours, baseline))
    return [(seed, seed) for seed in both] + list(zip(*rest, strict=False))
