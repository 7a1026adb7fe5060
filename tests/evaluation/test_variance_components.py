"""Means over listeners and clips against Student's t, plain linear algebra, and simulations with known truth."""

import math

import numpy as np
import pytest
from scipy import stats

from framework.errors import InvalidValueError
from framework.evaluation import variance_components
from framework.evaluation.variance_components import crossed, mean_squares


def drawn(random, rows, columns, of_rows=0.0, of_columns=0.0, missing=0.0):
    """Return a table of mean 0 with residuals of variance 1, and row and column effects of these variances."""
    table = random.normal(0, of_rows**0.5, (rows, 1)) + random.normal(0, of_columns**0.5, (1, columns))
    table = table + random.standard_normal((rows, columns))
    table[random.random((rows, columns)) < missing] = np.nan
    return table


@pytest.mark.parametrize("rows", [2, 3, 12])
def test_the_interval_is_students_where_one_factor_alone_has_spread(rows):
    means = np.random.default_rng(rows).standard_normal(rows)
    expected = stats.ttest_1samp(means, 0.4)
    for table in (np.repeat(means[:, None], 7, 1), np.repeat(means[None], 7, 0)):
        found = crossed(table, null=0.4)
        assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()), rel=1e-4)
        assert found.p == pytest.approx(expected.pvalue, rel=1e-4)
    assert (found.rows, found.columns, found.residual) == pytest.approx((0, means.var(ddof=1), 0), abs=1e-9)


def test_mean_squares_of_missing_cells_are_those_of_regressions():
    random = np.random.default_rng(4)
    table = drawn(random, 6, 9, 1.0, 1.0, missing=0.3)
    row, column = np.nonzero(~np.isnan(table))
    values = table[row, column]

    def left(*designs):
        design = np.concatenate([np.eye(size)[index] for index, size in designs], 1)
        return np.square(values - design @ np.linalg.lstsq(design, values, rcond=None)[0]).sum()

    both = left((row, 6), (column, 9))
    of_rows, of_columns, residual = mean_squares(table)
    assert of_rows.value == pytest.approx((left((column, 9)) - both) / 5)
    assert of_columns.value == pytest.approx((left((row, 6)) - both) / 8)
    assert residual.value == pytest.approx(both / (len(values) - 14))
    # What row effects alone add to the mean square of rows, on average.
    effects = random.standard_normal((4000, 6))
    squares = [mean_squares(np.where(np.isnan(table), np.nan, e[:, None]))[0].value for e in effects]
    assert of_rows.slope == pytest.approx(np.mean(squares), rel=0.05)


def test_variances_are_unbiased(fewer_draws):
    random = np.random.default_rng(5)
    absent = random.random((12, 15)) < 0.2
    tables = (np.where(absent, np.nan, drawn(random, 12, 15, 2.0, 0.5)) for _ in range(400))
    found = [crossed(table) for table in tables]
    means = [np.mean([getattr(f, name) for f in found]) for name in ("rows", "columns", "residual")]
    assert means == pytest.approx([2.0, 0.5, 1.0], rel=0.1)


RATIOS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.3, 0.1), (3.0, 1.0))


@pytest.mark.parametrize(
    ("rows", "columns", "missing"), [(2, 8, 0.0), (3, 6, 0.0), (5, 20, 0.4), (10, 8, 0.0), (20, 10, 0.5)]
)
def test_intervals_cover_the_true_mean(rows, columns, missing, fewer_draws):
    random, trials = np.random.default_rng(rows * columns), 160
    absent, covered = random.random((rows, columns)) < missing, []
    for of_rows, of_columns in RATIOS:
        tables = (drawn(random, rows, columns, of_rows, of_columns) for _ in range(trials))
        found = [crossed(np.where(absent, np.nan, table)) for table in tables]
        covered.append(sum(f.low <= 0 <= f.high for f in found) / trials)
        assert all((f.low <= 0 <= f.high) == (f.p >= 0.05) for f in found)
    assert min(covered) >= 0.9
    # Nothing is sure of two or three rows that hardly differ: their intervals cover more than they have to.
    assert 0.93 <= np.mean(covered) <= (0.97 if rows >= 5 else 0.99)


@pytest.fixture
def fewer_draws(monkeypatch):
    """Make simulations of intervals faster: exact to about a hundredth of their width."""

    def clear():
        variance_components._points.cache_clear()
        variance_components._inverse_chi_squares.cache_clear()

    clear()
    monkeypatch.setattr(variance_components, "DRAWS", 512)
    yield
    clear()


def test_nothing_is_made_up_of_too_little():
    for table in ([[1.0, 2.0]], [[1.0], [2.0]], [[1.0, math.nan], [math.nan, 2.0]], [[1.0, 2.0], [math.nan, 2.0]]):
        found = crossed(table)
        assert found.mean == pytest.approx(np.nanmean(table))
        assert math.isnan(found.low)
        assert math.isnan(found.p)
    assert math.isnan(crossed(np.full((3, 3), np.nan)).mean)
    same = crossed(np.full((3, 4), 2.0))
    assert (same.low, same.high) == (2, 2)
    assert math.isnan(same.p)
    for wrong in ([1.0, 2.0], [[1.0, math.inf]]):
        with pytest.raises(InvalidValueError, match="table of rows and columns"):
            crossed(wrong)
