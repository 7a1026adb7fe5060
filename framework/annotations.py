"""Whether a value is of an annotated type, and how a type is written."""

import types
import typing
from typing import Any, Literal


def matches(value: Any, annotation: Any) -> bool:
    """Say whether a value is of an annotated type; an `int` passes for `float`, a `bool` for neither."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Any:
        return True
    if annotation is None:
        return value is None
    if origin in (typing.Union, types.UnionType):
        return any(matches(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
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


def describe(annotation: Any) -> str:
    """Return an annotation as it is written in code."""
    return annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)
