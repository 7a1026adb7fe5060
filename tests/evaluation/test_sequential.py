"""Tests that may be looked at after every training: how often they are wrong, against closed forms and simulations."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from framework.errors import InvalidValueError
from framework.evaluation.sequential import confidence_sequence, e_value, verdict


@pytest.mark.parametrize(("count", "prior"), [(2, 10.0), (5, 10.0), (9, 1.0)])
def test_the_e_value_is_the_ratio_of_densities_of_students_t(count, prior):
    """The t statistic has a noncentral t distribution; the alternative averages it over the prior."""
    values = np.random.default_rng(count).normal(1.0, 1.0, count)
    t = stats.ttest_1samp(values, 0.0).statistic

    def density(effect):
        noncentral = stats.nct.pdf(t, count - 1, effect * math.sqrt(count))
        return noncentral * stats.norm.pdf(effect, 0, math.sqrt(prior))

    averaged = integrate.quad(density, -20, 20, limit=400, epsabs=1e-12)[0]
    assert e_value(values.tolist(), 0.0, prior) == pytest.approx(averaged / stats.t.pdf(t, count - 1), rel=1e-5)


def test_the_e_value_needs_two_trainings_and_has_limits():
    assert e_value([]) == e_value([3.0]) == e_value([0.0, 0.0]) == 1.0
    near = e_value([1.0, 1.0 + 1e-7, 1.0 - 1e-7])
    assert e_value([1.0, 1.0, 1.0]) == pytest.approx(near, rel=1e-4) == pytest.approx(31.0, rel=1e-4)


def test_the_confidence_sequence_holds_what_the_test_does_not_reject():
    values = np.random.default_rng(1).normal(0.4, 0.1, 6).tolist()
    interval = confidence_sequence(values)
    for end in (interval.low, interval.high):
        assert e_value(values, end) == pytest.approx(20.0, rel=1e-6)
    assert e_value(values, interval.low - 1e-3) > 20 > e_value(values, interval.low + 1e-3)
    assert confidence_sequence(values[:2]).high == math.inf


def test_looking_after_every_training_is_rarely_wrong():
    random = np.random.default_rng(2)
    trials = random.normal(0.0, 1.0, (1000, 20))
    ever = np.mean([any(e_value(row[:n].tolist()) >= 20 for n in range(2, 21)) for row in trials])
    repeated = np.mean([any(stats.ttest_1samp(row[:n], 0).pvalue < 0.05 for n in range(2, 21)) for row in trials])
    # 5 % and three standard errors of 1,000 trials.
    assert ever <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert repeated > 0.15


def test_methods_that_differ_on_these_recordings_alone_are_rarely_decided():
    random = np.random.default_rng(3)
    trials = 200
    wrong = 0
    for _ in range(trials):
        recordings = random.normal(0.0, 1.0, 8)
        table = recordings + random.normal(0.0, 0.1, (8, 1)) + random.normal(0.0, 0.3, (8, 8))
        wrong += any(verdict(table[:n]).answer != "open" for n in range(2, 9))
    assert wrong / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


def test_clear_differences_are_decided_after_a_few_trainings():
    random = np.random.default_rng(4)
    table = 1.0 + random.normal(0.0, 0.05, (6, 1)) + random.normal(0.0, 0.2, (6, 10))
    answers = [verdict(table[:n]).answer for n in range(2, 7)]
    assert answers[0] == "open"
    assert answers[-1] == "worse"
    assert verdict(table, better="higher").answer == verdict(-table).answer == "better"
    small = table - table.mean() + 1e-3
    assert (verdict(small).answer, verdict(small, smallest=0.5).answer) == ("open", "equal")


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"alpha": 5.0}, {"smallest": 0.0}, {"better": "bigger"}])
def test_wrong_values_are_named(wrong):
    with pytest.raises(InvalidValueError, match=next(iter(wrong))):
        verdict(np.ones((3, 2)), **wrong)
