"""Argument checks of the signal processing, with messages for the user instead of errors inside PyTorch."""

from typing import Protocol

from framework.errors import InvalidTypeError, InvalidValueError


class Shaped(Protocol):
    """A tensor or an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...


def check_shape(name: str, value: Shaped, *shape: int | str) -> None:
    """Check the number of dimensions of a tensor and their sizes, which must not be 0.

    Args:
        name: What the tensor is, for the message.
        value: The tensor.
        shape: Size of each dimension, or its name if any size from 1 will do. `...` in the first place stands for any
            number of dimensions.

    Raises:
        InvalidValueError: the shape is wrong.
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
        InvalidTypeError: the tensor is complex.
    """
    dtype = str(getattr(value, "dtype", "")).removeprefix("torch.")
    if dtype.startswith("complex"):
        raise InvalidTypeError(f"{name} of type {dtype}: give real numbers, such as magnitudes")


def check_at_least(name: str, value: float, least: float) -> None:
    """Check that a number is not smaller than a bound.

    Raises:
        InvalidValueError: the number is smaller, or NaN.
    """
    if not value >= least:
        raise InvalidValueError(f"{name} = {value}: give {least} or more")
