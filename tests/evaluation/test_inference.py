"""Tests and intervals over recordings, and over trainings and recordings: closed forms, and how often they err."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from framework.evaluation.inference import (
    mean_over_recordings,
    method_difference,
    network_difference,
    paired_seeds,
    recording_of,
    recording_values,
)


def test_clips_of_a_recording_are_one_value():
    assert [recording_of(clip) for clip in ("bwv4_8-00", "song-0012", "four", "a-1")] == [
        "bwv4_8",
        "song",
        "four",
        "a-1",
    ]
    values, recordings = [1.0, 3.0, 5.0, 8.0, None], ["a", "b", "a", "b", "c"]
    assert recording_values(values, recordings).tolist() == [3.0, 5.5]
    found = mean_over_recordings(values, recordings)
    assert (found.mean, found.count) == (4.25, 2)
    reach = stats.t.ppf(0.975, 1) * stats.sem([3.0, 5.5])
    assert (found.low, found.high) == pytest.approx((4.25 - reach, 4.25 + reach))


def test_recordings_of_different_lengths_count_by_their_clips():
    random = np.random.default_rng(1)
    groups = [random.normal(size=size) for size in (1, 4, 2, 3)]
    values = np.concatenate(groups)
    recordings = [f"r{number}" for number, group in enumerate(groups) for _ in group]
    mean = values.mean()
    # The variance of a ratio estimate, written out.
    spread = sum((group.sum() - len(group) * mean) ** 2 for group in groups) * 4 / 3 / len(values) ** 2
    found = mean_over_recordings(values.tolist(), recordings)
    assert found.mean == pytest.approx(mean)
    assert found.high - mean == pytest.approx(stats.t.ppf(0.975, 3) * math.sqrt(spread))


def test_signs_are_flipped_by_recording():
    random = np.random.default_rng(3)
    ours, baseline = random.normal(0.4, 1, 12), random.normal(0, 1, 12)
    recordings = [f"song{number // 2}" for number in range(12)]
    means = (ours - baseline).reshape(6, 2).mean(1)
    flipped = [abs(np.dot(signs, means)) for signs in itertools.product((1, -1), repeat=6)]
    found = network_difference(ours.tolist(), baseline.tolist(), recordings)
    assert found.mean == pytest.approx(means.mean())
    assert found.p == pytest.approx(np.mean(np.array(flipped) >= abs(means.sum()) - 1e-9))
    assert found.count == 6


def test_four_recordings_are_too_few_for_a_mark_however_many_clips():
    recordings = [f"song{number % 4}" for number in range(400)]
    assert network_difference([2.0] * 400, [1.0] * 400, recordings).p == pytest.approx(2 / 2**4)


def test_seeds_are_paired():
    assert paired_seeds([0, 1, 5], [1, 5, 7, 9]) == [(1, 1), (5, 5), (0, 7)]
    assert method_difference({0: [1.0, 2.0]}, {0: [1.0, 2.0], 1: [0.0, 0.0]}, ["a", "b"]) is None


def simulated(random, seeds, groups, clips, of_seeds, of_recordings, within, shift=0.0):
    """Return runs by seed: effects of the seed, of the recording, of both, and of the clip."""
    recordings = [f"r{number // clips}" for number in range(groups * clips)]
    common = np.repeat(random.normal(0, of_recordings, groups), clips)
    runs = {}
    for seed in range(seeds):
        own = random.normal(0, of_seeds) + np.repeat(random.normal(0, within, groups), clips)
        runs[seed] = shift + common + own + random.normal(0, 1, groups * clips)
    return runs, recordings


@pytest.mark.parametrize("seeds", [2, 3, 5])
@pytest.mark.parametrize("of_seeds", [0.0, 1.0, 2.0])
def test_the_method_is_rarely_marked_where_methods_are_alike(seeds, of_seeds):
    random = np.random.default_rng(seeds)
    trials, marks, covered = 400, 0, 0
    for _ in range(trials):
        within = random.choice([0.0, 1.0, 2.0])
        ours, recordings = simulated(random, seeds, 8, 2, of_seeds, 3, within)
        baseline, _ = simulated(random, seeds, 8, 2, of_seeds, 3, within)
        # Recordings are as hard for both.
        found = method_difference(
            {s: v.tolist() for s, v in ours.items()}, {s: v.tolist() for s, v in baseline.items()}, recordings
        )
        marks += found.p < 0.05
        covered += found.low <= 0 <= found.high
    # Two standard errors above 5 %.
    assert marks <= trials * (0.05 + 2 * math.sqrt(0.05 * 0.95 / trials))
    assert covered >= trials - marks - 1


def test_a_real_difference_is_marked():
    random = np.random.default_rng(0)
    ours, recordings = simulated(random, 3, 8, 2, 0.2, 1, 0.2, shift=2.0)
    baseline, _ = simulated(random, 3, 8, 2, 0.2, 1, 0.2)
    assert method_difference(ours, baseline, recordings).p < 0.05
