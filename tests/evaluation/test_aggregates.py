"""Statistics over trainings and clips, against rliable 1.2.0, deep-significance 1.2.8 and closed forms."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from framework.errors import InvalidValueError
from framework.evaluation.aggregates import (
    aggregates,
    almost_stochastic_order,
    interquartile_mean,
    probability_of_improvement,
    violation_ratio,
)


@pytest.fixture(scope="module")
def tables():
    random = np.random.default_rng(3)
    return random.normal(0, 1, (5, 7)), random.normal(0.4, 1, (4, 7))


def test_numbers_are_those_of_rliable(tables):
    ours, other = tables
    assert interquartile_mean(ours).mean == pytest.approx(-0.05388180002150609, abs=1e-12)
    found = probability_of_improvement(other, ours)
    assert found.mean == pytest.approx(0.6071428571428571, abs=1e-12)
    assert found.low < found.mean < found.high
    assert probability_of_improvement(other, ours, "lower").mean == pytest.approx(1 - found.mean)


A = [1.257, -1.534, -0.414, 1.21, 1.656, -1.658, 0.002, 0.828, -0.109, 2.091]
B = [1.138, 0.349, -0.639, -0.8, -0.8, 1.37, -1.46, -0.596]


def test_the_violation_ratio_is_that_of_deep_significance():
    """Its integral is a sum on a grid; here a finer one."""
    grid = (np.arange(200_000) + 0.5) / 200_000
    left, right = (np.sort(x)[np.ceil(grid * len(x)).astype(int) - 1] for x in (A, B))
    squares = (left - right) ** 2
    expected = squares[left < right].sum() / squares.sum()
    assert violation_ratio(np.array(A), np.array(B)) == pytest.approx(expected, abs=1e-5)
    found = almost_stochastic_order(A, B)
    assert found.violation == pytest.approx(expected, abs=1e-5)
    assert found.bound == pytest.approx(DEEP_SIGNIFICANCE, abs=0.03)


DEEP_SIGNIFICANCE = 0.5349
"""What aso(A, B, seed=1, num_bootstrap_iterations=20000) returns."""


def test_limits():
    assert violation_ratio(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 0.0
    assert violation_ratio(np.array([1.0]), np.array([1.0])) == 0.5
    assert almost_stochastic_order([1.0, 2.0], [3.0, 4.0], "lower").bound == 0.0
    assert probability_of_improvement(np.ones((2, 3)), np.ones((3, 3))).mean == 0.5
    assert probability_of_improvement(np.full((2, 3), 2.0), np.ones((3, 3))).low == 1.0
    one = interquartile_mean([[1.0, 2.0, 3.0, 100.0]])
    assert (one.mean, one.count) == (2.5, 1)
    assert math.isnan(one.low)
    assert math.isnan(almost_stochastic_order([1.0], [2.0]).bound)


def test_a_comparison_gives_a_row_for_each_run(tables):
    ours, other = tables
    values = {"full": ours.copy(), "ablation": other.copy()}
    values["full"][0, 2] = math.nan
    scores = {name: SimpleNamespace(by_seed=dict(enumerate(table.tolist()))) for name, table in values.items()}
    runs = [SimpleNamespace(name=name) for name in values]
    compared = SimpleNamespace(
        runs=runs, baseline="full", scores={"error": scores, "distance": {}}, metrics={"error": {"better": "lower"}}
    )
    known = [clip for clip in range(7) if clip != 2]
    full, ablation = aggregates(compared, "error")
    assert (full["run"], full["seeds"], "improvement" in full) == ("full", 5, False)
    assert ablation["iqm"] == interquartile_mean(other[:, known]).mean
    assert ablation["improvement"] == probability_of_improvement(other[:, known], ours[:, known], "lower").mean
    with pytest.raises(InvalidValueError, match="distance has no value for each clip of full"):
        aggregates(compared, "distance")


def test_wrong_tables_are_named(tables):
    with pytest.raises(InvalidValueError, match="same clips"):
        probability_of_improvement(tables[0], tables[1][:, :3])
    with pytest.raises(InvalidValueError, match="finite"):
        interquartile_mean([[1.0, math.nan]])
    with pytest.raises(InvalidValueError, match="'higher' or 'lower'"):
        almost_stochastic_order([1.0], [2.0], "bigger")
