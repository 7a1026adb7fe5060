"""What is in a tar shard and where: position, length and peak of every clip, without reading the sound.

The index is kept in a hidden file beside the shard (in the cache folder, where the data is read-only), and made again
when the shard has changed.
"""

import hashlib
import io
import json
import os
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from datamodules.cache import cache_folder
from datamodules.tar import Member, TarDamage, members
from framework.errors import InvalidValueError, OstinatoError
from framework.writing import remove_leftovers, replacing

VERSION = 3
FORMATS = ("wav", "flac", "ogg", "opus", "mp3")

CLIP = np.dtype(
    [
        ("offset", "<i8"),  # of the audio member, in bytes
        ("size", "<i8"),
        ("pcm", "<i8"),  # offset of 16 bit samples, or -1 where they have to be decoded
        ("samples", "<i8"),  # a channel; 0 for a damaged clip
        ("sample_rate", "<i4"),
        ("channels", "<i2"),
        ("peak", "<f4"),  # of the mono mix
    ]
)
_DAMAGED = (-1, 0, -1, 0, 0, 0, 0)


class BadClipError(OstinatoError, ValueError):
    """A clip that cannot be used; `kind` is what it is counted as."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind}: {detail}" if detail else kind)
        self.kind = kind


class Damage(NamedTuple):
    """Something wrong in a shard: in which clip (-1: everything behind the clips listed), its kind, and details."""

    clip: int
    kind: str
    detail: str


@dataclass(frozen=True)
class ShardIndex:
    """The clips of a shard in order. A damaged clip keeps its row, so that the others keep their numbers.

    Attributes:
        clips: Structured array of `CLIP`.
        keys: Their names, UTF-8 bytes.
        suffixes: Names of the members (`wav`, `json`, `f0.npy`, ...).
        members: Offset and size in bytes of these, (clips, suffixes, 2); -1 where a clip lacks one.
        damages: What is wrong.
    """

    clips: np.ndarray
    keys: np.ndarray
    suffixes: tuple[str, ...]
    members: np.ndarray
    damages: tuple[Damage, ...]

    def __len__(self) -> int:
        return len(self.clips)


def index_shard(path: str | Path) -> ShardIndex:
    """Walk over a shard from end to end (headers and metadata only) and return its index.

    Damage is not raised but listed, and what is sound before and beside it can be used.
    """
    rows, keys, tables, damages = [], [], [], []
    seen: set[str] = set()
    with open(path, "rb") as file:
        for key, found, cut in _samples(file.fileno()):
            if cut:
                damages.append(Damage(-1, "lost with its shard", cut))
                break
            try:
                if key in seen:
                    raise BadClipError("repeated key", "or its members are not side by side")
                rows.append(_clip(file.fileno(), found))
            except BadClipError as error:
                damages.append(Damage(len(rows), error.kind, str(error)))
                rows.append(_DAMAGED)
            seen.add(key)
            keys.append(key.encode(errors="surrogateescape"))
            tables.append(found)
    suffixes = tuple(sorted({suffix for table in tables for suffix in table}))
    located = [[table[s][1:] if s in table else (-1, -1) for s in suffixes] for table in tables]
    return ShardIndex(
        np.array(rows, CLIP),
        np.array(keys, np.bytes_),
        suffixes,
        np.array(located, np.int64).reshape(len(rows), len(suffixes), 2),
        tuple(damages),
    )


def _samples(descriptor: int) -> Iterator[tuple[str, dict[str, Member], str]]:
    """Yield `(key, members by suffix, damage)`: neighbouring members whose names are equal up to the first dot.

    Damage of the tar comes last and takes the last sample with it, as that one may be incomplete.
    """
    key = ""
    found: dict[str, Member] = {}
    try:
        for member in members(descriptor):
            folder, _, name = member.name.rpartition("/")
            stem, _, suffix = name.partition(".")
            new = f"{folder}/{stem}" if folder else stem
            if new != key or suffix in found:
                if found:
                    yield key, found, ""
                key, found = new, {}
            found[suffix] = member
    except TarDamage as error:
        yield "", {}, str(error)
    else:
        if found:
            yield key, found, ""


def _clip(descriptor: int, found: dict[str, Member]) -> tuple:
    """Return the row of a clip."""
    form = next((f for f in FORMATS if f in found), None)
    if form is None:
        raise BadClipError("no audio", f"only {', '.join(sorted(found))}")
    _, offset, size = found[form]
    pcm, samples, rate, channels = _layout(descriptor, offset, size)
    if samples <= 0:
        raise BadClipError("empty")
    facts = _facts(descriptor, found.get("json"))
    if facts.get("samples", samples) != samples:
        raise BadClipError("wrong length", f"{samples} samples instead of the {facts['samples']} recorded")
    peak = facts.get("peak")
    # Of shards that others made it may be in any unit: it is believed beside what else a json of ours says.
    ours = facts.get("samples") == samples and facts.get("sample_rate") == rate
    if not (ours and isinstance(peak, float) and 0 <= peak <= 1):
        peak = float(np.abs(decode(io.BytesIO(os.pread(descriptor, size, offset))).mean(1)).max())
    return offset, size, pcm, samples, rate, channels, peak


def _facts(descriptor: int, member: Member | None) -> dict:
    if member is None:
        return {}
    try:
        facts = json.loads(os.pread(descriptor, member.size, member.offset))
    except ValueError:
        raise BadClipError("unreadable json") from None
    return facts if isinstance(facts, dict) else {}


def decode(contents: BinaryIO, start: int = 0, samples: int = -1, dtype: str = "float32") -> np.ndarray:
    """Decode a stretch of an open audio file, float32 or int16 (time, channels); by default all of it.

    Raises:
        BadClipError: it cannot be decoded, ends too early, or has samples that are not finite.
    """
    try:
        with soundfile.SoundFile(contents) as file:
            if start:
                file.seek(start)
            audio = file.read(samples, dtype=dtype, always_2d=True)
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise BadClipError("undecodable", str(error).partition(">: ")[2] or str(error)) from None
    if len(audio) < samples or len(audio) == 0:
        raise BadClipError("undecodable", f"ends after {start + len(audio)} samples")
    if dtype == "float32" and not np.isfinite(audio).all():
        raise BadClipError("not finite", "samples are NaN or infinite")
    return audio


def _layout(descriptor: int, offset: int, size: int) -> tuple[int, int, int, int]:
    """Return `(offset of 16 bit samples or -1, samples, sample rate, channels)` of an audio member."""
    if size == 0:
        raise BadClipError("empty", "the file has no bytes")
    head = os.pread(descriptor, min(size, 4096), offset)
    found = _wav_layout(head, size) if head[:4] == b"RIFF" else None
    if found:
        return offset + found[0], *found[1:]
    try:
        info = soundfile.info(io.BytesIO(os.pread(descriptor, size, offset)))
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise BadClipError("undecodable", str(error).partition(">: ")[2]) from None
    return -1, info.frames, info.samplerate, info.channels


def _wav_layout(head: bytes, size: int) -> tuple[int, int, int, int] | None:
    """Find the samples of a 16 bit PCM wav; None for other encodings and odd files, which a decoder has to judge."""
    position, form = 12, None
    while position + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, position)
        position += 8
        if name == b"fmt " and position + 16 <= len(head):
            form = struct.unpack_from("<HHIIHH", head, position)
        elif name == b"data":
            if form is None or form[0] != 1 or form[5] != 16 or form[4] != 2 * form[1] or form[1] == 0:
                return None
            if position + length > size:
                raise BadClipError("wrong length", f"{size - position} bytes of samples instead of {length}")
            return position, length // form[4], form[2], form[1]
        position += length + (length & 1)
    return None


def cached_index(path: Path) -> ShardIndex:
    """Return the index of a shard: the kept one, if size and time of the shard are still the same.

    Raises:
        ValueError: the shard is missing or cannot be read.
    """
    try:
        stat = path.stat()
        stamp = np.array([VERSION, stat.st_size, stat.st_mtime_ns], np.int64)
        name = hashlib.sha256(str(path.absolute()).encode()).hexdigest()[:24]
        sidecars = (path.with_name(f".{path.name}.index.npz"), cache_folder() / "indices" / f"{name}.npz")
        for sidecar in sidecars:
            kept = _load(sidecar, stamp)
            if kept is not None:
                return kept
        index = index_shard(path)
    except OSError as error:
        raise InvalidValueError(f"{path}: the shard cannot be read ({error.strerror}): pack it again") from None
    any(_save(sidecar, index, stamp) for sidecar in sidecars)
    return index


def _load(sidecar: Path, stamp: np.ndarray) -> ShardIndex | None:
    try:
        with np.load(sidecar, allow_pickle=False) as kept:
            if not np.array_equal(kept["stamp"], stamp) or kept["clips"].dtype != CLIP:
                return None
            damages = tuple(Damage(int(clip), kind, detail) for clip, kind, detail in kept["damages"].tolist())
            return ShardIndex(kept["clips"], kept["keys"], tuple(kept["suffixes"].tolist()), kept["members"], damages)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _save(sidecar: Path, index: ShardIndex, stamp: np.ndarray) -> bool:
    try:
        with replacing(sidecar, durable=False) as part, open(part, "wb") as file:
            np.savez(
                file,
                stamp=stamp,
                clips=index.clips,
                keys=index.keys,
                suffixes=np.array(index.suffixes, np.str_),
                members=index.members,
                damages=np.array([tuple(map(str, d)) for d in index.damages], np.str_).reshape(-1, 3),
            )
        remove_leftovers(sidecar.parent)
    except OSError:
        return False
    return True
