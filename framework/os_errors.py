"""Errors of the operating system, as opposed to damaged files, with advice for each."""

import errno

from framework.errors import InvalidValueError, OstinatoError

_REMEDIES = {
    errno.EACCES: "check its permissions",
    errno.EPERM: "check its permissions",
    errno.EMFILE: "raise the limit of open files (`ulimit -n 4096`)",
    errno.ENFILE: "close other programs: the system has too many files open",
    errno.ENOENT: "check the path",
    errno.EIO: "check the disk",
    errno.ESTALE: "check the network drive",
    errno.ENOMEM: "free some memory",
    errno.ENOSPC: "free some disk space",
    errno.ENAMETOOLONG: "shorten the name",
}


class MachineError(OstinatoError, RuntimeError):
    """An intact file cannot be read: no permission, too many open files, a failing disk or network."""


_OF_A_FILE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
_OF_THE_MACHINE = {
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ENOSPC, errno.ESTALE, errno.EDQUOT),
    *(errno.EROFS, errno.ENODEV, errno.ENXIO, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN),
}


def of_the_machine(error: OSError) -> bool:
    """Return whether an error is the operating system's, so that the file may be intact and others fail as well."""
    return error.errno in _OF_THE_MACHINE


def refused(name: object, error: OSError) -> OstinatoError:
    """Return the error to raise for a file that cannot be opened: it is missing, or the system refuses it."""
    message = f"{name} cannot be read: {explain(error)}"
    return InvalidValueError(message) if error.errno in _OF_A_FILE else MachineError(message)


def explain(error: OSError) -> str:
    """Return the reason of an error and what to do: `Permission denied: check its permissions`."""
    reason = error.strerror or str(error)
    advice = _REMEDIES.get(error.errno or 0)
    return f"{reason}: {advice}" if advice else reason
