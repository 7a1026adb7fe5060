"""Cutting a stretch of whole frames out of a FLAC stream (RFC 9639), so that nothing else is read and decoded.

A decoder that seeks reads and decodes frames on its way. But every frame's header says which frame it is, under a
checksum: with frames of one length, the one that holds a sample is found by interpolation between those already seen,
without decoding any and without a table.
"""

from collections.abc import Callable
from typing import NamedTuple

_HEAD = 4096  # bytes; nearly always holds all metadata
_STREAMINFO = 34
_ATTEMPTS = 40

Read = Callable[[int, int], bytes]
"""Returns the bytes of the stream from an offset on, as many as asked for if there are."""


class Cut(NamedTuple):
    """A FLAC file of some frames of another, how many samples of it come before those wanted, and its sample size."""

    file: bytes
    skip: int
    bits: int


class _Stream(NamedTuple):
    """Facts of a stream: samples in a frame, bytes of the smallest and largest frame, where frames begin, and so on."""

    info: bytes
    block: int
    smallest: int
    largest: int
    samples: int
    bits: int
    begin: int
    sync: bytes  # with which the header of every frame but the last begins


def cut(read: Read, size: int, start: int, count: int) -> Cut | None:
    """Return the frames that hold `count` samples from `start` as a file of their own, to be read from its beginning.

    Args:
        read: Reads from the FLAC file.
        size: Of the file in bytes.
        start: First sample wanted.
        count: How many.

    Returns:
        None where this way does not go (frames of several lengths, unknown sizes, damage): then the whole file is to be
        given to a decoder, which finds out.
    """
    stream = _open(read)
    if stream is None or start + count > stream.samples:
        return None
    first, last = start // stream.block, (start + count - 1) // stream.block
    position = _find(read, size, stream, first)
    if position is None:
        return None
    frames = read(position, min((last - first + 1) * stream.largest, size - position))
    skip = start - first * stream.block
    # Rate, channels and sample size stay; the length becomes that of what is read, and the hash of all unknown.
    length = (int.from_bytes(stream.info[10:18]) >> 36 << 36 | skip + count).to_bytes(8)
    info = stream.info[:10] + length + bytes(16)
    return Cut(b"fLaC" + bytes((0x80, 0, 0, _STREAMINFO)) + info + frames, skip, stream.bits)


def _open(read: Read) -> _Stream | None:
    head = read(0, _HEAD)
    if head[:5] != b"fLaC\x00" and head[:5] != b"fLaC\x80":
        return None
    info = head[8 : 8 + _STREAMINFO]
    begin, block_header = 4, head[4:8]
    while True:
        begin += 4 + int.from_bytes(block_header[1:4])
        if len(block_header) < 4 or block_header[0] & 0x80:
            break
        block_header = head[begin : begin + 4] if begin + 4 <= _HEAD else read(begin, 4)
    sync = head[begin : begin + 3] if begin + 3 <= _HEAD else read(begin, 3)
    smallest, largest = int.from_bytes(info[4:7]), int.from_bytes(info[7:10])
    facts = int.from_bytes(info[10:18])
    if sync[:2] != b"\xff\xf8" or info[:2] != info[2:4] or not largest:
        return None
    block, samples, bits = int.from_bytes(info[:2]), facts & (1 << 36) - 1, (facts >> 36 & 31) + 1
    return _Stream(info, block, smallest, largest, samples, bits, begin, sync)


def _find(read: Read, size: int, stream: _Stream, wanted: int) -> int | None:
    """Return the offset of a frame by its number."""
    low, below = stream.begin, 0
    high, above = size, -(-stream.samples // stream.block)
    for attempt in range(_ATTEMPTS):
        if wanted == below:
            return low
        mean = (high - low) // (above - below)
        behind = low + max(stream.smallest, 4)
        # Halving now and then bounds the attempts where frames are of very different sizes.
        guess = low + (wanted - below - 2) * mean if attempt % 3 < 2 else (low + high) // 2
        begin = max(behind, guess)
        chunk = read(begin, min(max(6 * mean, 2 * stream.largest), size - begin))
        at, found = _next(chunk, 0, stream.sync, below, above)
        if at < 0:
            if begin == behind:
                return None
            high = begin  # only the last frame, whose header is another one, can be there
        while at >= 0 and found < wanted:
            low, below = begin + at, found
            at, found = _next(chunk, at + max(stream.smallest, 4), stream.sync, below, above)
        if at >= 0:
            high, above = begin + at, found
            if found == wanted:
                return high
    return None


def _next(chunk: bytes, at: int, sync: bytes, below: int, above: int) -> tuple[int, int]:
    """Return where the next header in `chunk` is, and its frame's number between `below` and `above`; (-1, 0): none."""
    while (at := chunk.find(sync, at)) >= 0:
        number, length = _number(chunk[at : at + 16])
        if below < number < above and len(chunk) >= at + length:
            return at, number
        at += 1
    return -1, 0


def _number(header: bytes) -> tuple[int, int]:
    """Return the number in a frame's header and the header's length; (-1, 0) if its checksum is wrong."""
    lead = header[4] if len(header) > 4 else 0xFF
    extra = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1
    if extra > 6 or 0x80 <= lead < 0xC0:
        return -1, 0
    number = lead if not extra else lead & (0x3F >> extra)
    for byte in header[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    length = 5 + extra + {6: 1, 7: 2}.get(header[2] >> 4, 0) + {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)
    checksum = 0
    for byte in header[: length + 1]:
        checksum = _CRC8[checksum ^ byte]
    return (number, length + 1) if checksum == 0 and len(header) > length else (-1, 0)


def _crc8(value: int) -> int:
    for _ in range(8):
        value = (value << 1 ^ 0x107) if value & 0x80 else value << 1
    return value


_CRC8 = bytes(_crc8(value) for value in range(256))
"""The checksum of a header, with the polynomial x^8 + x^2 + x + 1."""
