"""Files of coded audio (`.ost`): a header that says what coded it, and packed codes with checksums.

    magic "OSTI", version (1 byte), the length of the header (2 bytes), the header as JSON, its CRC-32 (4 bytes);
    then blocks of `BLOCK` frames, the last one shorter: codes, `bits` each, frame after frame and from the first
    codebook on, the highest bit first, filled with zeros to whole bytes; and the block's CRC-32 (4 bytes).

Integers are little-endian. A block can be read, and checked, without those before it.
"""

import json
import math
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, get_type_hints

import numpy as np

from framework.errors import InvalidValueError, OstinatoError
from framework.json_text import parse_json
from framework.writing import replacing

MAGIC, VERSION = b"OSTI", 1
SUFFIX = ".ost"
BLOCK = 512
"""Frames of a block."""
_LEAST = {"samples": 0}
_MOST = {
    "sample_rate": 10**6,
    "samples": 10**12,
    "samples_per_frame": 10**6,
    "books": 1024,
    "bits": 32,
}
"""Largest values of a header."""
START, CHECKSUM = struct.Struct("<4sBH"), struct.Struct("<I")


class CodedFileError(OstinatoError, ValueError):
    """A file of codes cannot be read or written."""


@dataclass(frozen=True)
class CodedHeader:
    """Header of a file of codes.

    Args:
        model: Fingerprint of the network that coded it.
        experiment: What that was called.
        sample_rate: Hz.
        samples: Length of the audio.
        samples_per_frame: Samples that a frame of codes stands for.
        books: Codes of a frame.
        bits: Bits of a code.
    """

    model: str
    experiment: str
    sample_rate: int
    samples: int
    samples_per_frame: int
    books: int
    bits: int

    @property
    def frames(self) -> int:
        """Frames of the whole file."""
        return -(-self.samples // self.samples_per_frame)

    @property
    def bitrate(self) -> float:
        """Kilobits a second."""
        return self.sample_rate / self.samples_per_frame * self.books * self.bits / 1000


def write_codes(path: str | Path, header: CodedHeader, pieces: Iterable[np.ndarray]) -> None:
    """Write a file atomically from pieces of codes `(frames, books)`.

    Raises:
        CodedFileError: the number of frames differs from the header's.
        WriteError: the file cannot be written.
    """
    path = Path(path)
    text = json.dumps(asdict(header) | {"bitrate": round(header.bitrate, 3)}, sort_keys=True).encode()
    frames = 0
    with replacing(path) as part:
        with open(part, "wb") as file:
            file.write(START.pack(MAGIC, VERSION, len(text)) + text + CHECKSUM.pack(zlib.crc32(text)))
            for block in _blocks(pieces):
                packed = pack(block, header.bits)
                file.write(packed + CHECKSUM.pack(zlib.crc32(packed)))
                frames += len(block)
        if frames != header.frames:
            raise CodedFileError(f"{path}: {frames} frames were coded of {header.frames}")


def read_header(path: str | Path) -> CodedHeader:
    """Read the header of a file of codes.

    Raises:
        CodedFileError: the file is not a file of codes, of a later version, or damaged.
    """
    with _opened(path) as file:
        return _header(file, path)


def read_codes(path: str | Path) -> Iterator[np.ndarray]:
    """Yield the codes of a file, int64 `(frames, books)`, block by block, each checked.

    Raises:
        CodedFileError: the file is not a file of codes, or is damaged; the message states the position in seconds.
    """
    with _opened(path) as file:
        header = _header(file, path)
        for start in range(0, header.frames, BLOCK):
            frames = min(BLOCK, header.frames - start)
            size = math.ceil(frames * header.books * header.bits / 8)
            packed, checksum = file.read(size), file.read(CHECKSUM.size)
            second = start * header.samples_per_frame / header.sample_rate
            if len(checksum) < CHECKSUM.size:
                raise CodedFileError(f"{path} is cut short at {second:.1f} s: copy it again")
            if checksum != CHECKSUM.pack(zlib.crc32(packed)):
                raise CodedFileError(f"{path} is damaged from {second:.1f} s on: copy it again")
            yield unpack(packed, frames, header.books, header.bits)
        if file.read(1):
            raise CodedFileError(f"{path} goes on behind its end: copy it again")


def pack(codes: np.ndarray, bits: int) -> bytes:
    """Pack codes `(frames, books)` into bytes, with `bits` bits for each code.

    Raises:
        CodedFileError: a code is no whole number of so many bits.
    """
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu" or (codes.size and not 0 <= codes.min() <= codes.max() < 1 << bits):
        raise CodedFileError(f"codes are whole numbers from 0 to {(1 << bits) - 1}: {bits} bits hold no others")
    places = np.arange(bits - 1, -1, -1)
    return np.packbits((codes[..., None] >> places & 1).astype(np.uint8)).tobytes()


def unpack(packed: bytes, frames: int, books: int, bits: int) -> np.ndarray:
    """Unpack bytes to codes, int64 `(frames, books)`."""
    found = np.unpackbits(np.frombuffer(packed, np.uint8), count=frames * books * bits)
    return found.reshape(frames, books, bits).astype(np.int64) @ (1 << np.arange(bits - 1, -1, -1))


def _blocks(pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the frames regrouped into blocks of `BLOCK` frames."""
    held: list[np.ndarray] = []
    count = 0
    for piece in pieces:
        held.append(piece)
        count += len(piece)
        if count >= BLOCK:
            joined = np.concatenate(held)
            whole = count // BLOCK * BLOCK
            yield from np.split(joined[:whole], whole // BLOCK)
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def _opened(path: str | Path) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise CodedFileError(f"{path} cannot be read ({error.strerror}): check the path") from error


def _header(file: BinaryIO, path: str | Path) -> CodedHeader:
    start = file.read(START.size)
    if len(start) < START.size or start[:4] != MAGIC:
        raise CodedFileError(f"{path} is no file of codes: `ostinato encode` writes them")
    _, version, length = START.unpack(start)
    if version != VERSION:
        raise CodedFileError(f"{path} is of version {version}, and this is for version {VERSION}: update ostinato")
    text = file.read(length)
    if file.read(CHECKSUM.size) != CHECKSUM.pack(zlib.crc32(text)):
        raise CodedFileError(f"{path} has a damaged header: copy it again")
    try:
        values = parse_json(text)
        header = CodedHeader(**{name: values[name] for name in CodedHeader.__dataclass_fields__})
        _check_header(header)
    except (ValueError, KeyError, TypeError) as error:
        raise CodedFileError(f"{path} has a header that cannot be read ({error}): encode the recording again") from None
    _check_size(header, os.fstat(file.fileno()).st_size - file.tell(), path)
    return header


def _check_header(header: CodedHeader) -> None:
    """Check that the values of a header are valid."""
    for name, kind in get_type_hints(CodedHeader).items():
        value = getattr(header, name)
        if type(value) is not kind:
            raise InvalidValueError(f"{name} is {str(value)[:40]!r}")
        if name in _MOST and not _LEAST.get(name, 1) <= value <= _MOST[name]:
            raise InvalidValueError(f"{name} is {value}, not from {_LEAST.get(name, 1)} to {_MOST[name]:,}")


def _check_size(header: CodedHeader, size: int, path: str | Path) -> None:
    """Check that the number of bytes after the header agrees with it."""
    blocks, rest = divmod(header.frames, BLOCK)
    of_block, of_rest = (-(-frames * header.books * header.bits // 8) + CHECKSUM.size for frames in (BLOCK, rest))
    wanted = blocks * of_block + (of_rest if rest else 0)
    if size < wanted:
        second = size // of_block * BLOCK * header.samples_per_frame / header.sample_rate
        raise CodedFileError(f"{path} is cut short at {second:.1f} s: copy it again")
    if size > wanted:
        raise CodedFileError(f"{path} goes on behind its end: copy it again")
