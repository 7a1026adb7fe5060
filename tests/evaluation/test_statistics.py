"""Intervals and tests against scipy, enumeration, textbook examples and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats

from framework.evaluation.inference import network_difference
from framework.evaluation.metrics.distribution import frechet_distance
from framework.evaluation.statistics import bootstrap, holm, jackknife, over_seeds

NAN = float("nan")


def paired(ours, baseline):
    """Return the difference on clips of which each is a recording of its own."""
    return network_difference(ours, baseline, [str(number) for number in range(len(ours))])


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
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    assert (found.mean, found.low, found.high) == pytest.approx((values.mean(), *expected))
    assert found.uncorrected == pytest.approx(found.mean)
    few = jackknife(lambda clips: 1.0, 5)
    assert (few.uncorrected, few.count) == (1.0, 5)
    assert math.isnan(few.mean)
    assert math.isnan(few.low)


def test_jackknife_corrects_the_bias_of_the_variance_exactly():
    values = np.random.default_rng(4).normal(size=20)
    found = jackknife(lambda clips: float(values[clips].var()), 20)
    assert (found.uncorrected, found.mean) == pytest.approx((values.var(), values.var(ddof=1)))
    assert found.low < found.mean < found.high


@pytest.mark.parametrize(("clips", "windows", "dimensions"), [(8, 4, 3), (24, 5, 8)])
@pytest.mark.parametrize("shift", [0.05, 0.5])
def test_intervals_of_distances_between_sets_cover_the_distance_of_the_distributions(clips, windows, dimensions, shift):
    random, trials, covered, before, withheld = np.random.default_rng(clips), 100, 0, 0, 0
    truth = dimensions * (shift**2 + 0.2**2)
    for _ in range(trials):
        # Windows of a clip are alike, and so are generated and true windows of one clip.
        common = random.normal(0, 0.5**0.5, (2, clips, 1, dimensions))
        noise = random.normal(0, 0.5**0.5, (2, clips, windows, dimensions))
        true = common[0] + noise[0]
        made = shift + 1.2 * (0.8 * common[0] + 0.6 * common[1] + noise[1])

        def distance(chosen, made=made, true=true):
            sets = (torch.from_numpy(part[chosen]).flatten(0, 1) for part in (made, true))
            return frechet_distance(*sets)

        found = jackknife(distance, clips)
        covered += found.low <= truth <= found.high
        before += abs(found.uncorrected - truth) <= found.high - found.mean
        withheld += math.isnan(found.low)
    assert covered >= 0.91 * (trials - withheld)
    assert withheld <= 0.3 * trials
    assert (clips, shift) != (24, 0.05) or before <= 0.3 * trials, "around the distance itself"


def test_a_bias_that_cannot_be_corrected_leaves_no_interval():
    random = np.random.default_rng(0)
    common, noise = random.standard_normal((2, 12, 1, 100)), random.standard_normal((2, 12, 4, 100))
    made, true = torch.from_numpy(common + noise)

    def distance(chosen):
        return frechet_distance(made[chosen].flatten(0, 1), true[chosen].flatten(0, 1))

    found = jackknife(distance, 12)
    assert 10 < found.mean < found.uncorrected, "the true distance is 0"
    assert math.isnan(found.low)
