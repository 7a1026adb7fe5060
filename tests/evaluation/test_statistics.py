"""Intervals and tests against scipy, enumeration, textbook examples and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from framework.evaluation.statistics import bootstrap, holm, jackknife, over_seeds, paired

NAN = float("nan")


def test_bootstrap_interval_is_seeded_skewed_as_the_values_and_covers_the_mean():
    random = np.random.default_rng(1)
    values = random.exponential(size=30)
    interval = bootstrap(values)
    assert interval == bootstrap(list(values))
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.mean > interval.mean - interval.low, "the long tail is on the right"
    wider = bootstrap(values, 0.99)
    assert wider.low < interval.low < interval.high < wider.high
    normal = bootstrap(random.normal(size=400))
    reach = stats.norm.ppf(0.975) / 20
    assert (normal.high - normal.low) / 2 == pytest.approx(reach, rel=0.15)
    intervals = [bootstrap(random.normal(5, 1, 25)) for _ in range(60)]
    assert sum(i.low < 5 < i.high for i in intervals) >= 51


def test_missing_values_are_left_out_and_too_few_have_no_interval():
    assert bootstrap([1.0, None, 2.0, NAN, 4.0]) == bootstrap([1.0, 2.0, 4.0])
    assert bootstrap([1.0, None, 2.0]).count == 2
    alone, none, same = bootstrap([3.0]), bootstrap([None]), bootstrap([2.0, 2.0, 2.0])
    assert (alone.mean, math.isnan(alone.low), alone.count) == (3.0, True, 1)
    assert math.isnan(none.mean)
    assert (same.mean, same.low, same.high) == (2.0, 2.0, 2.0)


def test_paired_p_is_that_of_all_sign_flips_and_of_scipy():
    random = np.random.default_rng(2)
    ours, baseline = random.normal(0.4, 1, 9), random.normal(0, 1, 9)
    differences = ours - baseline
    flips = [abs(np.dot(signs, differences)) for signs in itertools.product((-1, 1), repeat=9)]
    expected = np.mean(np.array(flips) >= abs(differences.sum()) - 1e-9)
    found = paired(ours, baseline)
    assert found.p == pytest.approx(expected)
    assert found.mean == pytest.approx(differences.mean())
    assert found.low < found.mean < found.high
    ours, baseline = random.normal(0.35, 1, 40), np.zeros(40)
    reference = stats.permutation_test(
        (ours, baseline), lambda a, b, axis: np.mean(a - b, axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=20_000, rng=random,
    )  # fmt: skip
    assert paired(ours, baseline).p == pytest.approx(reference.pvalue, abs=0.02)


def test_paired_takes_the_clips_that_both_have():
    found = paired([1.0, None, 3.0, 4.0], [0.5, 9.0, None, 3.0])
    assert (found.count, found.mean) == (2, 0.75)
    assert paired([1.0] * 6, [2.0] * 6).p == pytest.approx(2 / 2**6)
    assert paired([1.0, 2.0], [1.0, 2.0]).p == 1
    assert math.isnan(paired([1.0], [2.0]).p)
    with pytest.raises(ValueError, match="same clips"):
        paired([1.0], [1.0, 2.0])


def test_holm_is_the_textbook_example_and_never_decreases():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, NAN, 0.9])[0] == 1.0
    assert math.isnan(holm([0.5, NAN, 0.9])[1])
    assert holm([]) == []


def test_seeds_are_averaged_clip_by_clip_before_anything_else():
    found = over_seeds([[1.0, 2.0, 6.0], [3.0, 4.0, None]])
    assert found.values == [2.0, 3.0, None]
    assert found.clips == bootstrap([2.0, 3.0])
    assert found.means == [1.5, 3.5]
    assert found.deviation == pytest.approx(math.sqrt(2))
    assert math.isnan(over_seeds([[1.0, 2.0]]).deviation)
    with pytest.raises(ValueError, match="same clips"):
        over_seeds([[1.0], [1.0, 2.0]])


def test_jackknife_of_a_mean_is_its_standard_error():
    values = np.random.default_rng(3).normal(size=50)
    found = jackknife(lambda clips: float(values[clips].mean()), 50)
    reach = stats.norm.ppf(0.975) * values.std(ddof=1) / math.sqrt(50)
    assert (found.mean, found.high - found.mean) == pytest.approx((values.mean(), reach))
    assert math.isnan(jackknife(lambda clips: 1.0, 2).low)
