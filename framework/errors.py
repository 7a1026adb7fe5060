"""Errors whose message is meant for the user: one line that names what is wrong, the value, and what to do."""

DEBUG = "OSTINATO_DEBUG"
"""Environment variable that `--debug` sets: every error shows its traceback."""


class OstinatoError(Exception):
    """Base class of all errors that are messages to the user.

    The command line prints the message alone and exits with status 2. Every other exception keeps its traceback: it
    is a fault of the project, or of the researcher's own code, and the traceback says where.

    Subclasses also inherit from the built-in exception that describes them best (`ValueError`, `RuntimeError`, ...), so
    that Python code can catch them as usual.
    """


class InvalidValueError(OstinatoError, ValueError):
    """A value is out of range, or does not fit other values or the data."""


class InvalidTypeError(OstinatoError, TypeError):
    """A value or an attribute of a class has the wrong type."""
