"""Numpy arrays in files from outside, whose size is checked before it is allocated."""

import io
import math

import numpy as np
from numpy.lib import format as npy

from framework.errors import InvalidValueError


def load_array(contents: bytes) -> np.ndarray:
    """Return the array in the bytes of a `.npy` file.

    Raises:
        ValueError: it is no such file, has another size than its header states, or holds Python objects.
    """
    file = io.BytesIO(contents)
    try:
        version = npy.read_magic(file)
        shape, _, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(file)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise InvalidValueError(f"not a .npy file ({error})") from None
    stated, there = math.prod(shape) * dtype.itemsize, len(contents) - file.tell()
    if dtype.hasobject or min(shape, default=0) < 0 or stated > there:
        raise InvalidValueError(f"the .npy file states {dtype} {shape}, which its {there:,} bytes cannot hold")
    return np.load(io.BytesIO(contents), allow_pickle=False)
