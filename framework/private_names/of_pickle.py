"""Private names of pickle: its unpickler in Python.

The public one, in C, allocates as much memory as a single number in the file says.
"""

from pickle import _Unpickler as PythonUnpickler  # type: ignore[attr-defined]

__all__ = ["PythonUnpickler"]
