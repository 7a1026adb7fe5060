"""Private names of pickle."""

from pickle import _Unpickler as PythonUnpickler  # type: ignore[attr-defined]

__all__ = ["PythonUnpickler"]
"""The unpickler in Python: that in C allocates as much memory as a single number in the file says."""
