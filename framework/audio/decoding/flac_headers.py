"""Headers of FLAC's frames (RFC 9639, section 9.1): reading and foretelling them, and the checksums in them."""

import functools
from typing import NamedTuple

_BLOCK_CODES = {192: 1} | {576 << n: 2 + n for n in range(4)} | {256 << n: 8 + n for n in range(8)}


class Form(NamedTuple):
    """What headers of a stream have in common: their third and fourth byte, and those behind the number."""

    block_and_rate: int
    channels_and_bits: int
    block: bytes
    rate: bytes


def number_in(header: bytes) -> int:
    """Return the number in a frame's header; -1 if it is no header, or its checksum is wrong."""
    lead = header[4] if len(header) > 4 else 0xFF
    extra = 0 if lead < 0x80 else 8 - (lead ^ 0xFF).bit_length() - 1
    length = 5 + extra + block_bytes(header) + rate_bytes(header) if len(header) > 4 else len(header)
    if extra > 6 or 0x80 <= lead < 0xC0 or len(header) <= length or _crc8(header[: length + 1]):
        return -1
    number = lead if not extra else lead & (0x3F >> extra)
    for byte in header[5 : 5 + extra]:
        number = number << 6 | byte & 0x3F
    return number


def block_length(header: bytes) -> int:
    """Return how many samples a frame has by its header, where the code for that is not reserved; else 0."""
    code = header[2] >> 4
    count = block_bytes(header)
    if count:
        lead = header[4]
        at = 5 if lead < 0x80 else 4 + (8 - (lead ^ 0xFF).bit_length())
        return int.from_bytes(header[at : at + count], "big") + 1
    return next((length for length, known in _BLOCK_CODES.items() if known == code), 0)


def block_bytes(header: bytes) -> int:
    """Return how many bytes behind the number say how many samples the frame has."""
    return {6: 1, 7: 2}.get(header[2] >> 4, 0)


def rate_bytes(header: bytes) -> int:
    """Return how many bytes behind those say the sample rate."""
    return {12: 1, 13: 2, 14: 2}.get(header[2] & 15, 0)


@functools.lru_cache(1 << 16)
def headers(form: Form, number: int, shorter: int) -> tuple[bytes, ...]:
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
def renumbered(header: bytes, sample: int) -> bytes:
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
def crc16(header: bytes) -> int:
    """Return what a header contributes to the checksum of its frame."""
    return frame_checksum(header)


def frame_checksum(data: bytes) -> int:
    """Return the checksum of a frame, by the polynomial x^16 + x^15 + x^2 + 1."""
    checksum = 0
    for byte in data:
        checksum = checksum << 8 & 0xFFFF ^ _CRC16[checksum >> 8 ^ byte]
    return checksum


def shifted(checksum: int, count: int) -> int:
    """Return the checksum of data followed by `count` zero bytes, from that of the data."""
    power, product = _powers(1 << count.bit_length())[count], 0
    while checksum:
        if checksum & 1:
            product ^= power
        power = power << 1 ^ (0x18005 if power & 0x8000 else 0)
        checksum >>= 1
    return product


@functools.cache
def _powers(count: int) -> tuple[int, ...]:
    """Return x^(8 n) by the polynomial of `crc16` for the first `count` n."""
    powers = [1]
    while len(powers) < count:
        powers.append(powers[-1] << 8 & 0xFFFF ^ _CRC16[powers[-1] >> 8])
    return tuple(powers)
