"""Reads an offline `.wandb` file: LevelDB's log format (32 KiB blocks of checksummed fragments) of protobuf records."""

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto.wandb_internal_pb2 import Record

BLOCK, HEADER = 32768, struct.Struct("<IHB")
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Record]:
    """Yield the complete records of a file, up to where a crash cut it off."""
    content = path.read_bytes()
    assert content.startswith(b":W&B")
    position, fragments = 7, b""
    while True:
        if BLOCK - position % BLOCK < HEADER.size:
            position += BLOCK - position % BLOCK
        data = position + HEADER.size
        if data > len(content):
            return
        checksum, length, kind = HEADER.unpack_from(content, position)
        fragment = content[data : data + length]
        if kind == 0 or len(fragment) < length:
            return
        assert zlib.crc32(fragment, zlib.crc32(bytes([kind]))) == checksum
        fragments += fragment
        if kind in (FULL, LAST):
            yield Record.FromString(fragments)
            fragments = b""
        position = data + length


def read(run_folder: Path) -> dict[str, Any]:
    """Return the run, its configuration and its history (one dictionary a row) of the latest offline segment."""
    (path,) = sorted(run_folder.glob("wandb/offline-run-*"))[-1].glob("*.wandb")
    run: Any = None
    history = []
    for record in records(path):
        if record.HasField("run"):
            run = record.run
        elif record.HasField("history"):
            history.append(_row(record.history.item))
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    return {"run": run, "config": config, "history": history, "files": path.parent / "files"}


def _row(items: Any) -> dict[str, Any]:
    """Return a history row; media are dictionaries, kept as one item for each of their fields."""
    row: dict[str, Any] = {}
    for item in items:
        *outer, last = item.nested_key or [item.key]
        place = row
        for name in outer:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)
    return row
