"""A strict walk over a tar file's headers; payloads are skipped.

`tarfile` in stream mode, and so webdataset, takes a damaged header after the first one for the end of the archive, and
the rest is lost without a word. Here any damage is an error that says where.
"""

import os
from collections.abc import Iterator
from typing import NamedTuple

from framework.audio.decoding.kinds import foreign_kind
from framework.errors import OstinatoError

BLOCK = 512
_END = bytes(2 * BLOCK)
_LONGEST_HEADER = 1 << 20  # bytes of a long name or of a pax header


class TarDamage(OstinatoError, ValueError):  # noqa: N818
    """A tar file is cut, or a header in it is not what was written."""


class Member(NamedTuple):
    """A file in a tar: name, offset of its payload and size, both in bytes."""

    name: str
    offset: int
    size: int


def members(descriptor: int) -> Iterator[Member]:
    """Yield the regular files of an open tar in order (ustar, GNU and pax headers).

    Raises:
        TarDamage: cut inside a header, inside a payload or between members (no end marker), a header whose checksum is
            wrong, anything behind the end marker, or a link. What was yielded until then is sound.
    """
    end = os.fstat(descriptor).st_size
    offset = 0
    long: dict[str, str] = {}
    while True:
        header = os.pread(descriptor, BLOCK, offset)
        if not any(header) and end:
            return _check_end(descriptor, offset, end)
        if offset == 0 and (what := _no_tar(descriptor, end)):
            raise TarDamage(what)
        if len(header) < BLOCK:
            raise TarDamage(f"cut inside the header at byte {offset}")
        _check_sum(header, offset)
        kind = header[156:157]
        size = int(long["size"]) if "size" in long and kind not in b"Lx" else _number(header[124:136], offset)
        payload = offset + BLOCK
        if payload + size > end:
            raise TarDamage(f"cut inside the member at byte {offset}")
        offset = payload + -(-size // BLOCK) * BLOCK
        if kind in b"Lx":
            if size > _LONGEST_HEADER:
                raise TarDamage(f"a name or header of {size:,} bytes at byte {payload}")
            try:
                long |= _long_header(kind, os.pread(descriptor, size, payload))
            except (ValueError, IndexError):
                raise TarDamage(f"damaged long name at byte {payload}") from None
        elif kind in (b"0", b"\0"):
            yield Member(long.get("path") or _name(header), payload, size)
            long = {}
        elif kind in b"5gK":
            long = {}
        else:
            raise TarDamage(f"a link or special file at byte {payload - BLOCK}")


def _check_sum(header: bytes, offset: int) -> None:
    if sum(header) - sum(header[148:156]) + 8 * ord(" ") != _number(header[148:156], offset):
        raise TarDamage(f"damaged header at byte {offset}")


def _check_end(descriptor: int, offset: int, end: int) -> None:
    if os.pread(descriptor, len(_END), offset) != _END:
        raise TarDamage(f"cut at byte {offset}, where the end marker should be")
    while offset < end:
        chunk = os.pread(descriptor, 1 << 20, offset)
        if any(chunk):
            raise TarDamage(f"something follows the end marker at byte {offset}")
        offset += len(chunk)


def _number(field: bytes, offset: int) -> int:
    """Decode an octal number, or one in base 256 as GNU writes sizes of 8 GiB and more; never a negative one."""
    if field[0] & 0xC0 == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.split(b"\0")[0].strip(b" ")
    if field[0] & 0x80 or digits.strip(b"01234567"):
        raise TarDamage(f"damaged header at byte {offset}")
    return int(digits or b"0", 8)


def _no_tar(descriptor: int, end: int) -> str:
    """Return what a file is instead of a tar, where that is known."""
    if not end:
        return "the file is empty (0 bytes)"
    head = os.pread(descriptor, BLOCK, 0)
    return "" if head[257:262] == b"ustar" else foreign_kind(head)


def _name(header: bytes) -> str:
    name, prefix = header[:100].split(b"\0")[0], b""
    if header[257:263] == b"ustar\0":
        prefix = header[345:500].split(b"\0")[0]
    return (prefix + b"/" * bool(prefix) + name).decode(errors="surrogateescape")


def _long_header(kind: bytes, payload: bytes) -> dict[str, str]:
    """Decode a GNU long name, or the records `length key=value` of a pax header."""
    if kind == b"L":
        return {"path": payload.rstrip(b"\0").decode(errors="surrogateescape")}
    found = {}
    while payload:
        digits = payload.split(b" ")[0]
        length = int(digits)
        if not digits.isdigit() or not len(digits) < length <= len(payload):
            raise ValueError(digits)
        key, _, value = payload[:length].split(b" ", 1)[1].rstrip(b"\n").partition(b"=")
        found[key.decode()] = str(_size(value)) if key == b"size" else value.decode(errors="surrogateescape")
        payload = payload[length:]
    return found


def _size(value: bytes) -> int:
    if not value.isdigit():
        raise ValueError(value)
    return int(value)
