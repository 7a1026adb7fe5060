"""Reads the variables of a TensorFlow checkpoint (`.index` and `.data-00000-of-00001`) without TensorFlow.

The index is a table of blocks as in LevelDB (github.com/google/leveldb, doc/table_format.md), uncompressed; its values
are `BundleEntryProto` messages: type, shape, and where in the data file the values of the variable are.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from framework.errors import InvalidValueError

FOOTER = 48
MAGIC = 0xDB4775248B80FB57
FLOAT = 1
"""`DT_FLOAT`; other types are left out."""


def read_bundle(folder: Path, name: str = "") -> dict[str, np.ndarray]:
    """Return all float32 variables of a checkpoint by name.

    Args:
        folder: Folder of the checkpoint.
        name: Name of the checkpoint, without `.index`.

    Raises:
        InvalidValueError: the files are not a checkpoint, or are truncated.
    """
    index = (folder / f"{name}.index").read_bytes()
    values = (folder / f"{name}.data-00000-of-00001").read_bytes()
    try:
        return dict(_variables(index, values))
    except (IndexError, struct.error, ValueError) as error:
        raise InvalidValueError(f"{folder / name} is no checkpoint of TensorFlow ({error})") from None


def _variables(index: bytes, values: bytes) -> Iterator[tuple[str, np.ndarray]]:
    footer = index[-FOOTER:]
    if struct.unpack("<Q", footer[-8:])[0] != MAGIC:
        raise InvalidValueError("its index has another format")
    position = 0
    for _ in range(2):  # the handle of an unused block
        _, position = _varint(footer, position)
    root = _handle(footer, position)
    for _, handle in _block(index, *root):
        for key, entry in _block(index, *_handle(handle, 0)):
            fields = dict(_fields(entry))
            if key and fields.get(1) == FLOAT:
                shape = [dict(_fields(size)).get(1, 0) for number, size in _fields(fields.get(2, b"")) if number == 2]
                offset, size = fields.get(4, 0), fields[5]
                yield key.decode(), np.frombuffer(values[offset : offset + size], "<f4").reshape(shape)


def _handle(data: bytes, position: int) -> tuple[int, int]:
    offset, position = _varint(data, position)
    size, _ = _varint(data, position)
    return offset, size


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield keys and values of a block; a key shares its beginning with the one before it."""
    block = data[offset : offset + size]
    if len(block) < size or data[offset + size] != 0:
        raise InvalidValueError("its index is truncated or compressed")
    (restarts,) = struct.unpack("<I", block[-4:])
    position, end, key = 0, size - 4 * (restarts + 1), b""
    while position < end:
        shared, position = _varint(block, position)
        own, position = _varint(block, position)
        length, position = _varint(block, position)
        key = key[:shared] + block[position : position + own]
        position += own
        yield key, block[position : position + length]
        position += length


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield numbers and values of the fields of a protocol buffer message."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind, length = tag & 7, {1: 8, 5: 4}.get(tag & 7, 0)
        if kind == 0:
            value, position = _varint(message, position)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, position = _varint(message, position)
        yield tag >> 3, message[position : position + length]
        position += length
