"""Limits of what is built from stored values: a file of a megabyte cannot ask for a network of a terabyte."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.modules.module import register_module_parameter_registration_hook

from framework.errors import OstinatoError

FACTOR = 8
"""How many times as many weights may be built as are stored: normalised and averaged ones, discriminators."""
TENSORS, WEIGHTS = 10_000, 1 << 28
"""So many may be built whatever is stored."""


class TooLargeError(OstinatoError, ValueError):
    """Stored values describe a network far larger than the weights that are stored with them."""


@contextlib.contextmanager
def sized_by(sizes: Sequence[int], file: str | Path, weights: int = WEIGHTS) -> Iterator[None]:
    """Stop building a network that becomes far larger than stored weights; its memory is not touched then.

    Args:
        sizes: Number of weights of each stored tensor.
        file: The file of the weights, for the message.
        weights: Number of weights that may be built whatever is stored.

    Raises:
        TooLargeError: while the network is built.
    """
    most_tensors, most_weights = FACTOR * len(sizes) + TENSORS, FACTOR * sum(sizes) + weights
    built = [0, 0]

    def count(module: Any, name: str, parameter: Tensor | None) -> None:
        built[0] += 1
        built[1] += 0 if parameter is None else parameter.numel()
        if built[0] > most_tensors or built[1] > most_weights:
            raise TooLargeError(
                f"{file} describes a network of more than {built[1] - 1:,} weights, and holds {sum(sizes):,}: "
                "its hyperparameters are damaged or hostile, get it again"
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
