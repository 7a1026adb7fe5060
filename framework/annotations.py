"""Types of hyperparameters: ranges of numbers, whether a value is of an annotated type, and types in words.

channels: PositiveInt = 512
mel_weight: NonNegativeFloat = 45.0
dropout: Annotated[float, Range(0, below=1)] = 0.1
upsample_rates: NonEmpty[PositiveInt] = (8, 8, 2, 2)
"""

import math
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Range:
    """Allowed values of a number, written beside its type: `Annotated[float, Range(0, 1)]`.

    Args:
        least: Smallest allowed value.
        most: Largest allowed value.
        above: The value has to be larger than this.
        below: The value has to be smaller than this.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        if math.isfinite(self.least) and math.isfinite(self.most):
            return f"from {_number(self.least)} to {_number(self.most)}"
        words = ("at least", self.least), ("above", self.above), ("at most", self.most), ("below", self.below)
        return " and ".join(f"{word} {_number(bound)}" for word, bound in words if math.isfinite(bound))


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


@dataclass(frozen=True)
class Length:
    """Allowed number of items of a tuple, written beside its type.

    Args:
        least: Smallest number.
    """

    least: int = 1


PositiveInt = Annotated[int, Range(1)]
NonNegativeInt = Annotated[int, Range(0)]
PositiveFloat = Annotated[float, Range(above=0)]
NonNegativeFloat = Annotated[float, Range(0)]
UnitInterval = Annotated[float, Range(0, 1)]
"""A number from 0 to 1, as a share or a probability."""
OpenUnitInterval = Annotated[float, Range(above=0, below=1)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
MidiNumber = Annotated[int, Range(0, 127)]
Depth = Annotated[int, Range(1, 1000)]
"""A number of layers, blocks or codebooks, each of which is built one by one."""
Decay = Annotated[float, Range(0, below=1)]
"""The decay rate of a moving average, as of AdamW's moments; at 1 the average would never change."""
NonEmpty = Annotated[tuple[Item, ...], Length(1)]
"""A tuple of at least one item."""


def complaint(value: Any, annotation: Any) -> str:
    """Return in words what a value of an annotated type has to be, or nothing if it is.

    An `int` passes for `float`, a `bool` for neither. Numbers have to be finite, unless their range says otherwise.
    """
    if not matches(value, annotation):
        return f"must be {describe(annotation)}"
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return complaint(value, arguments[0]) or _outside(value, arguments[1:])
    if origin in (typing.Union, types.UnionType):
        complaints = [complaint(value, option) for option in arguments if matches(value, option)]
        return "" if "" in complaints else complaints[0]
    if origin in (tuple, Sequence):
        items = arguments[:1] * len(value) if origin is Sequence or arguments[1:] == (...,) else arguments
        found = [said for item, kind in zip(value, items, strict=True) if (said := complaint(item, kind))]
        # Where the items are tuples, the complaint is about one of theirs already.
        return (found[0] if found[0].startswith(("each", "must have")) else f"each {found[0]}") if found else ""
    if isinstance(value, float) and not math.isfinite(value) and annotation is not Any:
        return "must be a finite number"
    return ""


def _outside(value: Any, restrictions: tuple[Any, ...]) -> str:
    for restriction in restrictions:
        if isinstance(restriction, Range) and value not in restriction:
            return f"must be {restriction}"
        if isinstance(restriction, Length) and len(value) < restriction.least:
            return f"must have at least {restriction.least} item{'s' * (restriction.least > 1)}"
    return ""


def matches(value: Any, annotation: Any) -> bool:
    """Say whether a value is of an annotated type, whatever its range; an `int` passes for `float`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return True
    if annotation is None:
        return value is None
    if origin is Annotated:
        return matches(value, arguments[0])
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, option) for option in arguments)
    if origin is Literal:
        return any(value == option and isinstance(value, bool) == isinstance(option, bool) for option in arguments)
    if origin is Sequence:
        return (
            isinstance(value, Sequence) and not isinstance(value, str) and all(matches(i, arguments[0]) for i in value)
        )
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        if len(arguments) == 2 and arguments[1] is ...:
            return all(matches(item, arguments[0]) for item in value)
        return len(value) == len(arguments) and all(map(matches, value, arguments))
    if origin is type:
        return isinstance(value, type) and (arguments[0] is Any or issubclass(value, arguments[0]))
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, annotation)


def without_ranges(annotation: Any) -> Any:
    """Return an annotation without ranges and lengths."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return without_ranges(arguments[0])
    if origin in (typing.Union, types.UnionType):
        return typing.Union[tuple(map(without_ranges, arguments))]  # noqa: UP007
    if origin is tuple:
        return tuple[tuple(a if a is ... else without_ranges(a) for a in arguments)]  # type: ignore[misc]
    return annotation


def without_null(annotation: Any) -> Any:
    """Return a type without `None`."""
    if typing.get_origin(annotation) not in (typing.Union, types.UnionType):
        return annotation
    return typing.Union[tuple(option for option in typing.get_args(annotation) if option is not type(None))]  # noqa: UP007


def range_of(annotation: Any) -> str:
    """Return the range of a number, or of the numbers in a tuple, in words; nothing where there is none."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _range(arguments[1:]) or range_of(arguments[0])
    if origin in (tuple, Sequence):
        ranges = {range_of(argument) for argument in arguments if argument is not ...}
        said = ranges.pop()
        return f"each {said.removeprefix('each ')}" if said and not ranges else ""
    if origin in (typing.Union, types.UnionType):
        return next((said for option in arguments if (said := range_of(option))), "")
    return ""


def _range(restrictions: tuple[Any, ...]) -> str:
    return next((str(restriction) for restriction in restrictions if isinstance(restriction, Range)), "")


NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null", None: "null"}
PLURALS = {int: "whole numbers", float: "numbers", bool: "trues and falses", str: "texts"}
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def describe(annotation: Any) -> str:
    """Return a type in words, with its range: `a whole number of at least 1`, `one of l1, l2`."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _within(describe(arguments[0]), arguments[1:])
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(option) for option in arguments))
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}" if len(arguments) > 1 else str(arguments[0])
    if origin in (tuple, Sequence):
        if origin is Sequence or arguments[1:] == (...,):
            return f"a sequence of {_plural(arguments[0])}"
        same = len(set(arguments)) == 1 and len(arguments) < len(NUMBERS)
        kinds = " and ".join(map(describe, arguments))
        return f"a sequence of {NUMBERS[len(arguments)]} {_plural(arguments[0])}" if same else f"a sequence of {kinds}"
    if origin is type:
        return f"a subclass of {describe(arguments[0])}"
    return str(NAMES.get(annotation) or getattr(annotation, "__name__", annotation))


def _plural(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _within(_plural(arguments[0]), arguments[1:])
    if origin is tuple and arguments[1:] == (...,):
        return f"sequences of {_plural(arguments[0])}"
    return PLURALS.get(annotation, f"items, each {describe(annotation)}")


def _within(noun: str, restrictions: tuple[Any, ...]) -> str:
    said = _range(restrictions)
    return f"{noun} {'of ' * said.startswith('at')}{said}" if said else noun
