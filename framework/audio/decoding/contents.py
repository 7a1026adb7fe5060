"""Random access to the bytes of a recording, wherever they are: in a file, in a member of a tar, or in memory."""

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

_ID3V1 = 128  # bytes of a tag at the end of a file


class Contents(Protocol):
    """Bytes that can be read from any position."""

    @property
    def size(self) -> int:
        """Number of bytes."""

    def read(self, at: int, length: int) -> bytes:
        """Return `length` bytes from position `at`, or fewer at the end."""


class FileContents:
    """Bytes of an open file, or of a span of it.

    Args:
        descriptor: The descriptor of the file; it stays open and its position does not change.
        offset: Where the span begins.
        size: The size of the span in bytes; None for all that follows.
    """

    def __init__(self, descriptor: int, offset: int = 0, size: int | None = None) -> None:
        self._descriptor, self._offset = descriptor, offset
        self._size = os.fstat(descriptor).st_size - offset if size is None else size

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._size

    def read(self, at: int, length: int) -> bytes:
        """Return `length` bytes from position `at`, or fewer at the end."""
        length = min(length, self._size - at)
        return os.pread(self._descriptor, length, self._offset + at) if length > 0 else b""


class MemoryContents:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """Number of bytes."""
        return len(self._data)

    def read(self, at: int, length: int) -> bytes:
        """Return `length` bytes from position `at`, or fewer at the end."""
        return self._data[at : at + length]


Piece = bytes | tuple[int, int]
"""A piece of a view: bytes that are not in the contents, or a range `(begin, end)` of the contents."""


class View:
    """Contents with some bytes replaced or left out, without a copy of them.

    Args:
        contents: The original.
        pieces: What the view consists of, in order.
    """

    def __init__(self, contents: Contents, pieces: Sequence[Piece]) -> None:
        self._contents, self._pieces = contents, list(pieces)
        self._starts = [0]
        for piece in self._pieces:
            length = len(piece) if isinstance(piece, bytes) else piece[1] - piece[0]
            self._starts.append(self._starts[-1] + length)
        self._recent = 0

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self._starts[-1]

    def read(self, at: int, length: int) -> bytes:
        """Return `length` bytes from position `at`, or fewer at the end."""
        found: list[bytes] = []
        length = min(length, self.size - at)
        while length > 0:
            number = self._piece_at(at)
            piece, inside = self._pieces[number], at - self._starts[number]
            count = min(length, self._starts[number + 1] - at)
            if isinstance(piece, bytes):
                chunk = piece[inside : inside + count]
            else:
                chunk = self._contents.read(piece[0] + inside, count)
            if not chunk:  # the file has become shorter
                break
            found.append(chunk)
            at, length = at + len(chunk), length - len(chunk)
        return b"".join(found)

    def _piece_at(self, at: int) -> int:
        # Reads follow one another: the piece is nearly always the one of the last read or the next one.
        starts, number = self._starts, self._recent
        if at < starts[number]:
            number = 0
        while at >= starts[number + 1]:
            number += 1
        self._recent = number
        return number


def patched(contents: Contents, patches: Mapping[int, bytes], end: int) -> View:
    """Return the first `end` bytes of contents with some of them replaced, given by their positions."""
    pieces: list[Piece] = []
    at = 0
    for position, replacement in sorted(patches.items()):
        pieces += [(at, position), replacement]
        at = position + len(replacement)
    return View(contents, [piece for piece in (*pieces, (at, end)) if isinstance(piece, bytes) or piece[0] < piece[1]])


class ContentsFile(io.RawIOBase):
    """Contents as a file object, for decoders that want one.

    Args:
        contents: The bytes.
        apparent_size: Size in bytes that seeking to the end reports, if not the true one.
    """

    def __init__(self, contents: Contents, apparent_size: int | None = None) -> None:
        self._contents, self._position = contents, 0
        self._size = contents.size if apparent_size is None else apparent_size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, position: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(base + position, 0)
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        if self._position >= self._size - _ID3V1 and self._size > self._contents.size:
            data = bytes(min(len(view), max(self._size - self._position, 0)))  # looked for there before decoding
        else:
            data = self._contents.read(self._position, len(view))
        view[: len(data)] = data
        self._position += len(data)
        return len(data)
