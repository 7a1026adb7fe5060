"""Written music as webdataset shards: each clip is a whole piece, its notes in a compact array."""

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.shards.arrays import load_array
from datamodules.shards.writer import ShardWriter, read_data_set
from framework.errors import InvalidValueError
from framework.json_text import parse_json

TICKS = 48
"""Number of steps in a beat, the time unit of stored notes: a sixteenth has 12, a sixteenth triplet 8."""
COLUMNS = ("track", "onset", "duration", "midi", "velocity")


class Piece(NamedTuple):
    """A piece of written music.

    Attributes:
        key: Its name.
        notes: int32 (notes, 5): track, onset and duration in ticks, MIDI number, velocity.
        facts: `tracks` (names), `programs` (General MIDI, 128 for drums), `beats` (of a bar), `length` (beats), and
            where they are known `fifths` (of the key signature), `mode` (0 major, 1 minor), `phrase_ends` (beats),
            `in_four` (spans `[first, end]` in beats whose bars have 4).
    """

    key: str
    notes: np.ndarray
    facts: dict[str, Any]


class PieceWriter(ShardWriter):
    """Write pieces into the numbered shards of one split: `key.notes.npy` behind `key.json`, and no sound."""

    def write_piece(self, piece: Piece) -> None:
        """Add a piece.

        Raises:
            ValueError: it has no notes, or a name that is taken.
        """
        if not len(piece.notes):
            raise InvalidValueError(f"{piece.key}: there are no notes")
        if piece.key in self._keys:
            raise InvalidValueError(f"{piece.key!r}: the key is used twice")
        buffer = io.BytesIO()
        np.save(buffer, piece.notes.astype("<i4"), allow_pickle=False)
        description = json.dumps(piece.facts, sort_keys=True, ensure_ascii=False).encode()
        if self._file is None:
            self._open()
        assert self._file is not None
        self._keys.add(piece.key)
        self._tar.write({"__key__": piece.key, "json": description})
        self._tar.write({"__key__": piece.key, "notes.npy": buffer.getvalue()})
        self._count(piece.key, np.zeros(0, np.int16), 1, [description, buffer.getvalue()])
        if self._file.tell() >= self.shard_bytes:
            self._close()


def read_pieces(folder: Path, split: str) -> Iterator[Piece]:
    """Yield the pieces of a split in order.

    Raises:
        ValueError: the folder is not packed, holds no written music, or a shard is damaged.
    """
    manifest: Mapping[str, Any] = read_data_set(folder)
    if manifest.get("ticks") != TICKS:
        raise InvalidValueError(
            f"{folder}: holds no notes: pack a folder of MIDI files with `ostinato pack SOURCE DESTINATION`"
        )
    for record in manifest["shards"][split]:
        path = folder / record["name"]
        try:
            with tarfile.open(path) as shard:
                facts: dict[str, Any] = {}
                for member in shard:
                    contents = shard.extractfile(member).read()  # type: ignore[union-attr]
                    if member.name.endswith(".json"):
                        facts = dict(parse_json(contents))
                        continue
                    notes = load_array(contents)
                    if notes.ndim != 2 or notes.shape[1] != len(COLUMNS) or notes.dtype.kind not in "iu":
                        raise InvalidValueError(f"{member.name} holds {notes.dtype} {notes.shape}")
                    yield Piece(member.name.removesuffix(".notes.npy"), notes, facts)
        except (OSError, tarfile.TarError, TypeError, ValueError) as error:
            raise InvalidValueError(f"{path}: damaged ({error}): pack it again") from None
