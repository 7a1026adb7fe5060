"""What a sweep makes of its declaration."""

import math

import pytest

from framework.sweeps.sweep import Sweep, SweepError, Uniform, argument


class A:
    pass


class B(A):
    pass


def told(sweep):
    return [(c.experiment.__name__, *c.values.values(), c.seed_offset) for c in sweep.choices()]


def test_all_combinations_the_first_seed_of_everything_first():
    sweep = Sweep([A, B], grid={"model.x": [1, 2]}, seeds=2)
    assert told(sweep) == [
        ("A", 1, 0), ("A", 2, 0), ("B", 1, 0), ("B", 2, 0), ("A", 1, 1), ("A", 2, 1), ("B", 1, 1), ("B", 2, 1),
    ]  # fmt: skip
    assert [c.seed for c in Sweep([A], seeds=[7, 9]).choices()] == [7, 9]
    assert told(Sweep([A]) + Sweep([B], grid={"model.y": [3]})) == [("A", 0), ("B", 3, 0)]


def test_conditions_and_fixed_values():
    sweep = Sweep([A, B], grid={"model.x": [1, 2]}, fixed={"data.y": 5}, where=lambda e, v: e is A or v["model.x"] == 2)
    assert told(sweep) == [("A", 5, 1, 0), ("A", 5, 2, 0), ("B", 5, 2, 0)]
    with pytest.raises(SweepError, match=r"asks for 'model\.y': did you mean model\.x\?"):
        Sweep([A], grid={"model.x": [1]}, where=lambda e, v: v["model.y"]).choices()


def test_random_samples_are_distinct_repeatable_and_extended_by_more():
    grid = {"model.rate": Uniform(1e-5, 1e-1, log=True), "model.n": Uniform(1, 4), "model.kind": ["a", "b"]}
    few, many = (Sweep([A], grid=grid, samples=n).choices() for n in (20, 200))
    assert [c.values for c in many[:20]] == [c.values for c in few]
    assert {c.values["model.n"] for c in many} == {1, 2, 3, 4}
    # Uniform in the logarithm: the median is the geometric mean of the limits, the deviation range / sqrt(12).
    logs = [math.log10(c.values["model.rate"]) for c in many]
    assert abs(sum(logs) / len(logs) + 3) < 4 * (4 / math.sqrt(12)) / math.sqrt(len(logs))
    assert len(Sweep([A], grid={"model.kind": ["a", "b"]}, samples=9).choices()) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sweep([]), "needs experiments"),
        (lambda: Sweep([A], grid={"model.x": 3}), "a list of values is needed"),
        (lambda: Sweep([A], grid={"model.x": []}), "a list of values is needed"),
        (lambda: Sweep([A], grid={"seed": [1]}), "given by seeds="),
        (lambda: Sweep([A], seeds=0), "no runs"),
        (lambda: Sweep([A], grid={"model.x": Uniform(0, 1)}), "say how often by samples="),
        (lambda: Uniform(0.0, 1.0, log=True), "above 0"),
        (lambda: Sweep([A], where=lambda e, v: False).choices(), "leaves no run"),
        (lambda: argument("model.x", A), "cannot be said on a command line"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(make, message):
    with pytest.raises(SweepError, match=message) as refused:
        make()
    assert "\n" not in str(refused.value)
