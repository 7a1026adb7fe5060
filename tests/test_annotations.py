"""Ranges of numbers, and types in words."""

import math
from typing import Annotated, Any, Literal

import pytest

from framework.annotations import (
    Decay,
    NonEmpty,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Range,
    Seed,
    UnitInterval,
    complaint,
    describe,
    without_ranges,
)

HUGE = 10**30


@pytest.mark.parametrize(
    ("annotation", "allowed", "refused"),
    [
        (PositiveInt, [1, HUGE], [0, -4, 1.0, True, None, "1", math.nan, (1,)]),
        (NonNegativeFloat, [0, 0.0, 1e30, HUGE], [-1e-9, math.inf, math.nan, True, "", ()]),
        (PositiveFloat | None, [None, 1e-30], [0, -1, "x", False]),
        (UnitInterval, [0, 0.5, 1], [-0.1, 1.1, math.nan]),
        (Decay, [0, 0.999], [1, 1.0, -0.5]),
        (Seed, [0, 2**32 - 1], [-1, 2**32]),
        (Annotated[float, Range(above=0, most=1)], [1e-9, 1], [0, 1.01]),
        (NonEmpty[PositiveInt], [(1,), (8, 2)], [(), (0,), (8, -2), (8.0,), [8], 8, ((1,),)]),
        (NonEmpty[NonEmpty[PositiveInt]], [((1, 3),)], [((),), ((0,),), (1,), ()]),
        (tuple[Decay, Decay], [(0.8, 0.99)], [(0.8,), (0.8, 1.0), (0.8, math.nan)]),
        (float, [-1, 0.5], [math.inf, -math.inf, math.nan]),
        (Literal[1, 2], [1, 2], [3, True, "1"]),
        (bool, [True], [1, 0, "true"]),
        (Any, [math.nan, object()], []),
    ],
)
def test_a_range_is_what_it_says(annotation, allowed, refused):
    assert [value for value in allowed if complaint(value, annotation)] == []
    assert [value for value in refused if not complaint(value, annotation)] == []
    assert [value for value in refused if not complaint(value, annotation).startswith(("must", "each must"))] == []


@pytest.mark.parametrize(
    ("value", "annotation", "said"),
    [
        (-4, PositiveInt, "must be at least 1"),
        (2.5, PositiveInt, "must be a whole number of at least 1"),
        (0, PositiveFloat | None, "must be above 0"),
        ((8, -1), NonEmpty[PositiveInt], "each must be at least 1"),
        (((1, 0),), NonEmpty[NonEmpty[PositiveInt]], "each must be at least 1"),
        ((), NonEmpty[PositiveInt], "must have at least 1 item"),
        (2, UnitInterval, "must be from 0 to 1"),
        (math.nan, UnitInterval, "must be a finite number"),
        ("x", PositiveFloat | None, "must be a number above 0 or null"),
        ((1,), tuple[Decay, Decay], "must be a sequence of two numbers of at least 0 and below 1"),
        ("c", Literal["a", "b"], "must be one of a, b"),
        (-1, Seed, "must be from 0 to 4294967295"),
    ],
)
def test_a_complaint_is_in_words(value, annotation, said):
    assert complaint(value, annotation) == said


def test_types_are_described_without_pythons_notation():
    assert describe(NonEmpty[NonEmpty[PositiveInt]]) == "a sequence of sequences of whole numbers of at least 1"
    assert describe(tuple[int, str]) == "a sequence of a whole number and text"
    assert describe(type[int]) == "a subclass of a whole number"
    assert without_ranges(NonEmpty[NonEmpty[PositiveInt]] | None) == tuple[tuple[int, ...], ...] | None
