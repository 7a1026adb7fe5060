"""Numpy arrays in files from outside, whose size is checked before it is allocated."""

import math
import re

import numpy as np

from framework.errors import InvalidValueError

_MAGIC = b"\x93NUMPY"
_HEADER = {
    "descr": re.compile(r"""['"]descr['"]\s*:\s*['"]([<>|=]?[a-zA-Z?]\d*)['"]"""),
    "fortran_order": re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)\b"""),
    "shape": re.compile(r"""['"]shape['"]\s*:\s*\(((?:\s*\d+\s*,)*\s*(?:\d+\s*)?)\)"""),
}


def load_array(contents: bytes) -> np.ndarray:
    """Return the array in the bytes of a `.npy` file; one of plain numbers, not of records or Python objects.

    The header is not given to Python's own parser, as numpy does: damage makes that raise errors of many kinds, and
    Python 3.11 fails on sound ones where two threads parse at a time.

    Raises:
        ValueError: it is no such file, or has another size than its header states.
    """
    if contents[:6] != _MAGIC or len(contents) < 12 or contents[6] not in (1, 2, 3):
        raise InvalidValueError("not a .npy file")
    digits = 2 if contents[6] == 1 else 4
    begin = 8 + digits + int.from_bytes(contents[8 : 8 + digits], "little")
    header = contents[8 + digits : begin].decode(errors="replace")
    found = {name: pattern.search(header) for name, pattern in _HEADER.items()}
    if missing := [name for name, match in found.items() if match is None]:
        raise InvalidValueError(f"not a .npy file of plain numbers: its header has no valid {missing[0]}")
    descr, order, axes = (match[1] for match in found.values() if match)
    try:
        dtype = np.dtype(descr)
        shape = tuple(int(length) for length in axes.split(",") if length.strip())
    except (TypeError, ValueError):
        raise InvalidValueError(f"the .npy file states {descr} ({axes}), which is no array of numbers") from None
    stated, there = math.prod(shape) * dtype.itemsize, len(contents) - begin
    if dtype.hasobject or not dtype.itemsize or stated > there or len(shape) > 32:
        raise InvalidValueError(f"the .npy file states {dtype} {shape}, which its {max(there, 0):,} bytes cannot hold")
    values = np.frombuffer(contents, dtype, math.prod(shape), begin)
    return values.reshape(shape, order="F" if order == "True" else "C").copy(order="K")
