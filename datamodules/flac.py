"""Cutting stretches of whole frames out of FLAC streams (RFC 9639), so that nothing else is read and decoded.

A decoder that seeks reads and decodes frames on its way. But a frame's header can be foretold but for the way that two
channels are coded: its number, its length, a checksum. So a frame is found by looking for its header near the place
where it should be, and the header that is found in its stead says how far that was off. Frames of many streams make one
new stream, to be decoded in one go.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

_HEAD = 4096  # bytes; nearly always holds all metadata
_STREAMINFO = 34
_ATTEMPTS = 40
_BLOCK_CODES = {192: 1} | {576 << n: 2 + n for n in range(4)} | {256 << n: 8 + n for n in range(8)}

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


class _Form(NamedTuple):
    """What headers of a stream have in common: their third and fourth byte, and those behind the number."""

    block_and_rate: int
    channels_and_bits: int
    block: bytes
    rate: bytes


class _Stream(NamedTuple):
    """Facts of a stream: samples in a frame, bytes of the smallest and largest frame, where frames begin, and so on."""

    format: bytes
    block: int
    smallest: int
    largest: int
    samples: int
    bits: int
    begin: int
    form: _Form

    @property
    def frames(self) -> int:
        return -(-self.samples // self.block)

    def length(self, number: int) -> int:
        """Return the samples of a frame: the last one may be shorter."""
        return min(self.block, self.samples - number * self.block)

    def headers(self, number: int) -> tuple[bytes, ...]:
        """Return the headers that a frame can have."""
        length = self.length(number)
        return _headers(self.form, number, length if length < self.block else 0)


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
        header = _renumbered(frame.header, position)
        change = _crc16(frame.header) ^ _crc16(header)
        checksum = int.from_bytes(frame.rest[-2:]) ^ _shifted(change, len(frame.rest) - 2)
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
    if header[:2] != b"\xff\xf8" or info[:2] != info[2:4] or not largest or _number(header) != 0:
        return None
    block, samples, bits = int.from_bytes(info[:2]), facts & (1 << 36) - 1, (facts >> 36 & 31) + 1
    behind = 5 + _block_bytes(header)
    form = _Form(header[2], header[3], header[5:behind], header[behind : behind + _rate_bytes(header)])
    return _Stream((facts >> 36 << 36).to_bytes(8), block, smallest, largest, samples, bits, begin, form)


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
        number = _number(chunk[at : at + 16])
        if below < number < above:
            return at, number
    return -1, 0


def _number(header: bytes) -> int:
    """Return the number in a frame's header; -1 if it is no header, or its checksum is wrong."""
    lead = header[4] if len(header) > 4 else 0xFF
    extra = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1
    length = 5 + extra + _block_bytes(header) + _rate_bytes(header) if len(header) > 4 else len(header)
    if extra > 6 or 0x80 <= lead < 0xC0 or len(header) <= length or _crc8(header[: length + 1]):
        return -1
    number = lead if not extra else lead & (0x3F >> extra)
    for byte in header[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    return number


def _block_bytes(header: bytes) -> int:
    return {6: 1, 7: 2}.get(header[2] >> 4, 0)


def _rate_bytes(header: bytes) -> int:
    return {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)


@functools.lru_cache(1 << 16)
def _headers(form: _Form, number: int, shorter: int) -> tuple[bytes, ...]:
    """Return the headers that a frame can have; `shorter` is its length in samples if that is not the usual one."""
    block_and_rate, block = form.block_and_rate, form.block
    if shorter:
        code = _BLOCK_CODES.get(shorter, 6 if shorter <= 256 else 7)
        block_and_rate = code << 4 | block_and_rate & 15
        block = (shorter - 1).to_bytes(code - 5) if code in (6, 7) else b""
    channels = form.channels_and_bits >> 4
    codings = (1, 8, 9, 10) if channels in (1, 8, 9, 10) else (channels,)
    return tuple(
        _header(0xF8, block_and_rate, coding << 4 | form.channels_and_bits & 15, number, block + form.rate)
        for coding in codings
    )


@functools.lru_cache(1 << 14)
def _renumbered(header: bytes, sample: int) -> bytes:
    """Return a header that gives the number of the first sample instead of the frame's."""
    lead = header[4]
    length = 1 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length()
    return _header(0xF9, header[2], header[3], sample, header[4 + length : -1])


def _header(sync: int, block_and_rate: int, channels_and_bits: int, number: int, rest: bytes) -> bytes:
    header = bytes((0xFF, sync, block_and_rate, channels_and_bits)) + _coded(number) + rest
    return header + bytes((_crc8(header),))


def _coded(number: int) -> bytes:
    """Return a number as UTF-8 codes it, continued up to 36 bits."""
    if number < 0x80:
        return bytes((number,))
    extra = next(n for n in range(1, 7) if number < 1 << (5 * n + 6) or n == 6)
    lead = 0xFF << 7 - extra & 0xFF | number >> 6 * extra
    return bytes((lead, *(0x80 | number >> 6 * n & 0x3F for n in reversed(range(extra)))))


def _table(polynomial: int, bits: int) -> tuple[int, ...]:
    """Return the remainders of all bytes by a polynomial."""
    table = []
    for value in range(256):
        value <<= bits - 8
        for _ in range(8):
            value = (value << 1) ^ (polynomial if value >> bits - 1 else 0)
        table.append(value)
    return tuple(table)


_CRC8 = _table(0x107, 8)
_CRC16 = _table(0x18005, 16)


def _crc8(data: bytes) -> int:
    """Return the checksum of a header, by the polynomial x^8 + x^2 + x + 1; 0 if it ends with its checksum."""
    checksum = 0
    for byte in data:
        checksum = _CRC8[checksum ^ byte]
    return checksum


@functools.lru_cache(1 << 16)
def _crc16(data: bytes) -> int:
    """Return the checksum of a frame, by the polynomial x^16 + x^15 + x^2 + 1."""
    checksum = 0
    for byte in data:
        checksum = checksum << 8 & 0xFFFF ^ _CRC16[checksum >> 8 ^ byte]
    return checksum


def _shifted(checksum: int, count: int) -> int:
    """Return the checksum of data followed by `count` zero bytes, from that of the data."""
    while len(_POWERS) <= count:
        _POWERS.append(_POWERS[-1] << 8 & 0xFFFF ^ _CRC16[_POWERS[-1] >> 8])
    power, shifted = _POWERS[count], 0
    while checksum:
        if checksum & 1:
            shifted ^= power
        power = power << 1 ^ (0x18005 if power & 0x8000 else 0)
        checksum >>= 1
    return shifted


_POWERS = [1]
"""x^(8 n) by the polynomial of the checksum."""
