"""Writing files whole or not at all, with one error that says what to do, and runs that outlive a full disk."""

import contextlib
import errno
import hashlib
import io
import itertools
import os
import re
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from framework.errors import OstinatoError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of a disk, a quota or a file that has reached its limit."""
_PART = re.compile(r"\..+\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-\d+\.part")
_ABANDONED = 24 * 3600.0
"""Seconds without a change after which a temporary file of another machine counts as left behind."""
_LONGEST = 200
"""Bytes of a file's name that the name of its temporary file begins with; file systems allow 255 in all."""
_numbers = itertools.count()


class WriteError(OstinatoError, OSError):
    """A file cannot be written; the message names it, the reason and the remedy."""

    def __init__(self, path: str | Path, error: OSError) -> None:
        super().__init__(f"{path} could not be written ({error.strerror or error}): {remedy(error)}")
        self.errno = error.errno


def remedy(error: OSError) -> str:
    """Return what to do about a file that cannot be written."""
    if error.errno in FULL:
        return "make room"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "check its permissions, or name another folder"
    if error.errno == errno.ENAMETOOLONG:
        return "shorten the name"
    if error.errno == errno.ENOENT:
        return "name another folder"
    return "check the disk"


@contextlib.contextmanager
def replacing(path: str | Path, durable: bool = True) -> Iterator[Path]:
    """Yield the path of a temporary file to write, which takes the place of `path` when the block ends without error.

    A reader, or a kill, finds the old file or the new one and nothing between. The temporary file is named after the
    process that writes it, so that `remove_leftovers` can tell whether that process is still alive.

    Args:
        path: The file, or the folder, to make or to replace; missing parents are made.
        durable: Whether the file is on the disk, and not only in the operating system's memory, before it replaces the
            old one.

    Raises:
        WriteError: it cannot be written; nothing is left of it.
    """
    path = Path(path)
    part = part_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        if durable:
            _sync(part)
        os.replace(part, path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        if isinstance(error, WriteError) or not _is_of_writing(error, path, part):
            raise
        raise WriteError(path, error) from error
    finally:
        remove_file(part)


def _is_of_writing(error: OSError, path: Path, part: Path) -> bool:
    """Say whether an error in a block comes from writing its file, rather than from what else is done there."""
    if error.filename is None:
        return error.errno in (*FULL, errno.EIO, errno.ESTALE)
    named = Path(os.fsdecode(error.filename))
    return part in (named, *named.parents) or named in (path, *path.parents)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, or a kill, finds the old one or the new one and nothing between.

    Raises:
        WriteError: it cannot be written; the old file is as it was.
    """
    with replacing(path) as part:
        part.write_text(text)


def part_of(path: Path) -> Path:
    """Return a name beside `path` for what this process has not finished writing."""
    name = path.name.encode(errors="surrogateescape")[:_LONGEST].decode(errors="ignore")
    return path.with_name(f".{name}.{_machine()}-{os.getpid()}-{next(_numbers)}.part")


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files and folders directly in a folder whose process is dead.

    Those of another machine, whose processes cannot be looked at, are removed when they have not changed for a day.
    """
    for entry in _entries(folder):
        if (found := _PART.fullmatch(entry.name)) and not _in_use(entry, found["machine"], int(found["process"])):
            remove_file(entry)


def _in_use(path: Path, machine: str, process: int) -> bool:
    if machine == _machine():
        return is_alive(process)
    try:
        return time.time() - path.stat().st_mtime < _ABANDONED
    except OSError:
        return True


def is_alive(process: int) -> bool:
    """Say whether a process of this machine is alive."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


def _machine() -> str:
    """Return a hash of what process numbers are counted in: a machine, or one of its containers."""
    try:
        numbers = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbers = ""
    return hashlib.sha256(f"{socket.gethostname()} {numbers}".encode()).hexdigest()[:8]


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def remove_file(path: Path) -> None:
    """Remove a file or a folder if it is there; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    # Not every system can; the file itself is on the disk already.
    with contextlib.suppress(OSError):
        _sync(folder)


class ErrorKeeper:
    """A binary file that keeps its first write error, for libraries that report only that there was one.

    Args:
        file: The file, opened for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write; return the number of bytes written, 0 from the first error on."""
        return self._kept(self.file.write, data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Seek, which writes what is buffered; return the position."""
        return self._kept(self.file.seek, offset, whence)

    def flush(self) -> None:
        """Write what is buffered."""
        self._kept(self.file.flush)

    def check(self) -> None:
        """Raise the error that was kept."""
        self.flush()
        if self.error is not None:
            raise self.error

    def _kept(self, call: Callable[..., Any], *arguments: Any) -> int:
        if self.error is None:
            try:
                return call(*arguments) or 0
            except OSError as error:
                self.error = error
        return 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


class Tolerant:
    """A context in which a file that cannot be written costs that file and not the run.

    The first failure is one line on standard error, further ones a line every ten minutes, and the first success after
    them another.

    Args:
        what: What is written, as a plural: "checkpoints".
        every: Seconds between two warnings.
    """

    def __init__(self, what: str, every: float = 600.0) -> None:
        self.what, self.every = what, every
        self.error: OSError | None = None
        self._said = -float("inf")
        self._silent = 0

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed."""
        return self.error is not None

    def __enter__(self) -> None:
        """Enter."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        """Keep an `OSError` of a file from ending the run; one of a network connection is raised."""
        if error is None:
            if self.failed:
                print(f"{self.what} can be written again", file=sys.stderr)
                self.error, self._said, self._silent = None, -float("inf"), 0
            return False
        if not isinstance(error, OSError) or isinstance(error, (ConnectionError, TimeoutError)):
            return False
        self.error = error
        self._warn(error)
        return True

    def _warn(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._said < self.every:
            self._silent += 1
            return
        also = f" ({self._silent} more since the last warning)" if self._silent else ""
        print(f"warning: {error}; the run goes on without{also}", file=sys.stderr)
        self._said, self._silent = now, 0


class _Output(io.FileIO):
    """Standard output or error whose lines are lost, and nothing else, while the disk that they go to is full."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return len(data)


def keep_output_from_failing() -> None:
    """Let what is printed to a log file on a full disk be lost, instead of ending whoever prints it."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        buffer = getattr(stream, "buffer", None)
        raw = getattr(buffer, "raw", buffer)
        if type(raw) is not io.FileIO:
            continue
        stream.flush()
        output: Any = _Output(raw.fileno(), "w", closefd=False)
        replaced = io.TextIOWrapper(
            output if buffer is raw else io.BufferedWriter(output),
            stream.encoding,
            stream.errors,
            line_buffering=stream.line_buffering,
            write_through=stream.write_through,
        )
        setattr(sys, name, replaced)
