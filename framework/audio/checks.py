"""Checks of what signal processing is given, so that errors are messages to the user and not of PyTorch's internals."""

from typing import Protocol

from framework.errors import InvalidTypeError, InvalidValueError


class Shaped(Protocol):
    """A tensor or an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def check_shape(name: str, value: Shaped, *shape: int | str) -> None:
    """Check that a tensor has so many dimensions of the right sizes, none of them empty.

    Args:
        name: What the tensor is, for the message.
        value: The tensor.
        shape: Size of each dimension, or its name if any size from 1 will do. `...` in the first place stands for any
            number of dimensions.

    Raises:
        InvalidValueError: the shape is another one.
    """
    found, wanted = tuple(value.shape), shape
    if shape[0] == "...":
        wanted = shape[1:]
        found = found[-len(wanted) :] if len(value.shape) >= len(wanted) else found
    fits = len(found) == len(wanted) and all(
        size >= 1 if isinstance(one, str) else size == one for size, one in zip(found, wanted, strict=True)
    )
    if not fits or 0 in value.shape:
        described = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
        raise InvalidValueError(f"{name} of shape {tuple(value.shape)}: give the shape {described}, no size being 0")


def check_real(name: str, value: object) -> None:
    """Check that a tensor holds real numbers.

    Raises:
        InvalidTypeError: it is complex.
    """
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if dtype.startswith("complex"):
        raise InvalidTypeError(f"{name} of type {dtype}: give real numbers, such as magnitudes")


def check_at_least(name: str, value: float, least: float) -> None:
    """Check a number.

    Raises:
        InvalidValueError: it is smaller, or NaN.
    """
    if not value >= least:
        raise InvalidValueError(f"{name} = {value}: give {least} or more")
