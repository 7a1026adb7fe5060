"""Locks that belong to one process: whoever it forks does not hold them, and they end with it, however it ends."""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

ATTEMPTS = 5
"""How often a lock is tried: whoever only asks about it holds it for an instant."""

_held: set[int] = set()


def _forget_in_child() -> None:
    """Close the descriptors of a forked child: a lock lasts until the last process that has it open is gone."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Take the lock of a file for the length of a block, and write this process's name into it.

    The lock is `flock`'s, which NFS has too. It is released when the block ends or the process dies; processes that
    this one has forked or started in the meantime do not hold it.

    Returns:
        Whether it could be taken; False if another process has it, or another block of this one.

    Raises:
        OSError: the file cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(descriptor)
    try:
        taken = _take(descriptor)
        if taken:
            # On a full disk the name of the owner is lost, the lock is not.
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield taken
    finally:
        if descriptor in _held:
            _held.remove(descriptor)
            os.close(descriptor)


def _take(descriptor: int) -> bool:
    for attempt in range(ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05 * (attempt + 1 < ATTEMPTS))
        else:
            return True
    return False


def is_locked(path: Path) -> bool:
    """Say whether a process holds the lock of a file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def owner(path: Path) -> str:
    """Return who wrote last that it has the lock of a file: a process and its machine."""
    try:
        return path.read_text(errors="replace").strip() or "?"
    except OSError:
        return "?"
