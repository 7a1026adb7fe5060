"""Locks that say which process works in a run folder; released when that process ends, also if it is killed.

The project has two kinds of locks. Short critical sections in which processes wait for each other, such as packing a
data set or compiling a library, use `filelock.FileLock`. The lock of a run folder or a sweep is held for the whole
training, and needs three things that `filelock` does not offer in all supported versions:

* Child processes, such as workers of data loaders, must not hold it: a `flock` lasts until the last copy of the
  descriptor is closed, so a worker that outlives a killed training would block the next session.
* Other processes ask whether it is held, for example `ostinato list` and the ranks of a training. They do so with a
  shared lock, without write permission, and without disturbing each other; `filelock` would have to acquire it.
* The lock file names its owner, and can be written on a full disk or not at all.

`fcntl` is used in this module only.
"""

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

ATTEMPTS = 5
"""Number of attempts to take a lock: `is_locked` in another process holds a shared lock for an instant."""

_held: set[int] = set()


def _forget_in_child() -> None:
    """Close the lock files in a forked child, because a lock lasts until no process has its file open."""
    for descriptor in _held:
        os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget_in_child)


@contextlib.contextmanager
def lock(path: Path) -> Iterator[bool]:
    """Try to take the lock of a file for the duration of a `with` block, and write the process id into the file.

    The lock is a `flock`, which works on NFS too. It is released when the block ends or the process dies; child
    processes do not hold it.

    Returns:
        Whether the lock was taken; False if another process, or another block of this process, holds it.

    Raises:
        OSError: the file cannot be created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    _held.add(descriptor)
    try:
        taken = _take(descriptor)
        if taken:
            # On a full disk the owner is not recorded, but the lock is held.
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
    """Return whether a process holds the lock of a file."""
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
    """Return the last owner of a lock, as `<process id> on <host>`; `?` if it is not recorded."""
    try:
        return path.read_text(errors="replace").strip() or "?"
    except OSError:
        return "?"
