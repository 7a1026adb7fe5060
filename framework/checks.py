"""Argument checks that networks share, so that errors name the argument instead of a failure inside PyTorch."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from framework.annotations import complaint, range_of
from framework.errors import InvalidValueError
from framework.hyperparameters import as_tuples

Init = TypeVar("Init", bound=Callable[..., None])


def checked(init: Init) -> Init:
    """Check the arguments of an `__init__` against the ranges in its annotations, as `channels: PositiveInt`.

    The decorated method raises a ValueError that names the class, the argument, its value and the range.
    """
    signature = inspect.signature(init)
    ranges = {name: p.annotation for name, p in signature.parameters.items() if range_of(p.annotation)}

    @functools.wraps(init)
    def checking(self: Any, *arguments: Any, **named: Any) -> None:
        for name, value in signature.bind(self, *arguments, **named).arguments.items():
            if name in ranges and (said := complaint(as_tuples(value), ranges[name])):
                raise InvalidValueError(f"{type(self).__name__}: {name} = {value}: {said}")
        init(self, *arguments, **named)

    return checking  # type: ignore[return-value]


def check_lengths(**sequences: Sequence[Any]) -> None:
    """Check that sequences with corresponding items have equal lengths.

    Raises:
        ValueError: naming them with their lengths.
    """
    if len({len(sequence) for sequence in sequences.values()}) > 1:
        counts = " and ".join(f"{name} has {len(sequence)}" for name, sequence in sequences.items())
        raise InvalidValueError(f"{counts}: they need as many items as each other, one for each stage or block")


def check_halved(channels: int, stages: int) -> None:
    """Check that the number of channels can be halved in each stage.

    Raises:
        ValueError: naming the smallest width that does.
    """
    if channels < 2**stages:
        raise InvalidValueError(
            f"channels = {channels}: must be at least {2**stages}, as each of {stages} stages halves it"
        )


def check_divisible(**numbers: tuple[int, int]) -> None:
    """Check that numbers are multiples of their divisors, given as `name=(number, divisor)`.

    Raises:
        ValueError: naming the number and the divisor.
    """
    for name, (number, divisor) in numbers.items():
        if number % divisor:
            raise InvalidValueError(f"{name} = {number}: must be a multiple of {divisor}")
