"""Cutting spans of whole frames out of FLAC streams (RFC 9639), so that nothing else is read and decoded.

A decoder that seeks reads and decodes frames on its way. But a frame's header can be foretold but for the way that two
channels are coded: its number, its length, a checksum. So a frame is found by looking for its header near the place
where it should be, and the header that is found in its stead says how far that was off. Frames of many streams make one
new stream, to be decoded in one go.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from framework.audio.decoding.flac_headers import (
    Form,
    block_bytes,
    crc16,
    headers,
    number_in,
    rate_bytes,
    renumbered,
    shifted,
)

_HEAD = 4096  # bytes; nearly always holds all metadata
_STREAMINFO = 34
_ATTEMPTS = 40

Read = Callable[[int, int], bytes]
"""Returns the bytes of the stream from an offset on, as many as asked for if there are."""


class Cut(NamedTuple):
    """Frames of a stream.

    Attributes:
        format: Sample rate, channels and sample size, as in STREAMINFO: what frames of one stream must have in common.
        frames: Header and rest of each, and its samples.
        skip: Samples that come before those wanted.
        bits: Of a sample.
    """

    format: bytes
    frames: list["_Frame"]
    skip: int
    bits: int

    @property
    def samples(self) -> int:
        """Samples in all frames."""
        return sum(frame.samples for frame in self.frames)


class _Frame(NamedTuple):
    header: bytes
    rest: bytes
    samples: int


class _Stream(NamedTuple):
    """Facts of a stream: samples in a frame, bytes of the smallest and largest frame, where frames begin, and so on."""

    format: bytes
    block: int
    smallest: int
    largest: int
    samples: int
    bits: int
    begin: int
    form: Form
    frames: int

    def length(self, number: int) -> int:
        """Return the samples of a frame: the last one may be shorter."""
        return min(self.block, self.samples - number * self.block)

    def headers(self, number: int) -> tuple[bytes, ...]:
        """Return the headers that a frame can have."""
        length = self.length(number)
        return headers(self.form, number, length if length < self.block else 0)


def cut(read: Read, size: int, start: int, count: int) -> Cut | None:
    """Return the frames that hold `count` samples from `start`.

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
    position = _find(read, size, stream, first, last - first + 1)
    if position is None:
        return None
    frames = list(_split(*position, stream, first, last))
    return Cut(stream.format, frames, start - first * stream.block, stream.bits) if frames else None


def join(cuts: Sequence[Cut]) -> bytes:
    """Return a FLAC file of the frames of cuts of the same format, one after another.

    Frames are numbered anew, by samples, as then they may be of different lengths. A checksum that was right before
    stays right, and one that was wrong stays wrong.
    """
    parts, position = [b""], 0
    for frame in (frame for piece in cuts for frame in piece.frames):
        header = renumbered(frame.header, position)
        change = crc16(frame.header) ^ crc16(header)
        checksum = int.from_bytes(frame.rest[-2:]) ^ shifted(change, len(frame.rest) - 2)
        parts += (header, frame.rest[:-2], checksum.to_bytes(2))
        position += frame.samples
    lengths = [frame.samples for piece in cuts for frame in piece.frames]
    sizes = max(16, min(lengths)).to_bytes(2) + max(16, *lengths).to_bytes(2) + bytes(6)
    facts = (int.from_bytes(cuts[0].format) | position).to_bytes(8)
    # The hash of all samples is not known, which is said by zeros.
    parts[0] = b"fLaC" + bytes((0x80, 0, 0, _STREAMINFO)) + sizes + facts + bytes(16)
    return b"".join(parts)


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
    header = head[begin : begin + 16] if begin + 16 <= _HEAD else read(begin, 16)
    smallest, largest = int.from_bytes(info[4:7]), int.from_bytes(info[7:10])
    facts = int.from_bytes(info[10:18])
    if header[:2] != b"\xff\xf8" or info[:2] != info[2:4] or not largest or number_in(header) != 0:
        return None
    block, samples, bits = int.from_bytes(info[:2]), facts & (1 << 36) - 1, (facts >> 36 & 31) + 1
    behind = 5 + block_bytes(header)
    form = Form(header[2], header[3], header[5:behind], header[behind : behind + rate_bytes(header)])
    return _Stream(
        (facts >> 36 << 36).to_bytes(8), block, smallest, largest, samples, bits, begin, form, -(-samples // block)
    )


def _find(read: Read, size: int, stream: _Stream, wanted: int, count: int) -> tuple[bytes, int] | None:
    """Return bytes that have `count` frames from `wanted` on, and where in them the first one begins."""
    low, below = stream.begin, 0
    high, above = size, stream.frames
    headers = stream.headers(wanted)
    for attempt in range(_ATTEMPTS):
        mean = (high - low) // (above - below)
        # Halving now and then bounds the attempts where frames are of very different sizes.
        guess = low + (wanted - below - 3) * mean if attempt % 3 < 2 else (low + high) // 2
        begin = max(low, guess)
        chunk = read(begin, min(max((count + 6) * mean, 2 * stream.largest), size - begin))
        at = _first(chunk, headers, 0)
        if at >= 0:
            enough = count * stream.largest
            if len(chunk) - at < enough + 16:
                chunk, at = chunk[at:] + read(begin + len(chunk), min(at + enough + 16 - len(chunk), size)), 0
            return chunk, at
        at, number = _next(chunk, stream, below, above)
        if at < 0 and begin == low:
            return None
        if at < 0 or number > wanted:
            high, above = (begin, above) if at < 0 else (begin + at, number)
        else:
            # The frame is behind the last header of the chunk; that of the first is near enough.
            low, below = begin + at, number
    return None


def _split(chunk: bytes, at: int, stream: _Stream, first: int, last: int) -> Iterator[_Frame]:
    """Yield frames `first` to `last`, the first of which begins at `at`; nothing, if one of them is not whole."""
    frames = []
    for number in range(first, last + 1):
        header = next(h for h in stream.headers(number) if chunk.startswith(h, at))
        end = len(chunk)
        if number + 1 < stream.frames:
            end = _first(chunk, stream.headers(number + 1), at + max(stream.smallest, len(header) + 2))
        if end < at + len(header) + 2:
            return
        frames.append(_Frame(header, chunk[at + len(header) : end], stream.length(number)))
        at = end
    yield from frames


def _first(chunk: bytes, headers: tuple[bytes, ...], begin: int) -> int:
    """Return where one of the headers is first found; -1 if none is."""
    if len(headers) == 1:
        return chunk.find(headers[0], begin)
    return min((at for at in (chunk.find(header, begin) for header in headers) if at >= 0), default=-1)


def _next(chunk: bytes, stream: _Stream, below: int, above: int) -> tuple[int, int]:
    """Return where the first header is of a frame between `below` and `above`, and its number; (-1, 0): none."""
    sync, at = bytes((0xFF, 0xF8, stream.form.block_and_rate)), -1
    while (at := chunk.find(sync, at + 1)) >= 0:
        number = number_in(chunk[at : at + 16])
        if below < number < above:
            return at, number
    return -1, 0
