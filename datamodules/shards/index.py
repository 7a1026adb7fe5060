"""What is in a tar shard and where: position, length and peak of every clip, without reading the sound.

The index is kept in a hidden file beside the shard (in the cache folder, where the data is read-only), and made again
when the shard has changed.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from datamodules.shards.tar import Member, TarDamage, members
from framework.audio.decoding.chunks import wav_pcm
from framework.audio.decoding.contents import Contents, ContentsFile, FileContents
from framework.audio.decoding.reader import LEAD_IN, AudioReader, DecodingError, check_bounds
from framework.cache import cache_folder
from framework.errors import OstinatoError
from framework.folders import AUDIO_SUFFIXES, remedy
from framework.json_text import parse_json
from framework.os_errors import refused
from framework.writing import remove_leftovers, replacing

VERSION = 4
FORMATS = (*(suffix[1:] for suffix in AUDIO_SUFFIXES), "audio")
"""Suffixes of the members that are taken for a clip's sound; where there are several, the first of these."""

CUT_SHORT = "damaged or cut short"
"""The kind of damage of a clip that is used up to where it can be decoded."""
_LONGEST_KEY = 1024  # bytes
_LARGEST_JSON = 1 << 24  # bytes
_PLAIN = ("wav", "flac")  # what a json of ours can be beside

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
    """Something wrong in a shard: in which clip (-1: everything behind the clips listed), its kind, and details.

    A clip of the kind `CUT_SHORT` has samples and is used.
    """

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
    rows: list[tuple] = []
    keys, tables, damages = [], [], []
    seen: set[str] = set()
    with open(path, "rb") as file:
        for key, found, cut in _samples(file.fileno()):
            if cut:
                damages.append(Damage(-1, "lost with its shard", cut))
                break
            try:
                if key in seen:
                    raise BadClipError("repeated key", "or its members are not side by side")
                row, fault = _clip(file.fileno(), found)
                if fault:
                    damages.append(Damage(len(rows), CUT_SHORT, f"{CUT_SHORT}: {fault}"))
                rows.append(row)
            except (BadClipError, DecodingError) as error:
                damages.append(Damage(len(rows), error.kind, str(error)))
                rows.append(_DAMAGED)
            seen.add(key)
            keys.append(_bounded(key.encode(errors="surrogateescape")))
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

    Hidden members are passed over.

    Damage of the tar comes last and takes the last sample with it, as that one may be incomplete.
    """
    key = ""
    found: dict[str, Member] = {}
    try:
        for member in members(descriptor):
            folder, _, name = member.name.rpartition("/")
            if name.startswith("."):  # what a Mac puts beside each file
                continue
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


def _clip(descriptor: int, found: dict[str, Member]) -> tuple[tuple, str]:
    """Return the row of a clip, and what is wrong where it can be used in part."""
    form = _sound_member(found)
    _, offset, size = found[form]
    if size == 0:
        raise BadClipError("empty", "the file has no bytes")
    contents = FileContents(descriptor, offset, size)
    facts = _facts(descriptor, found.get("json"))
    pcm = wav_pcm(contents)
    if pcm:
        rate, channels, samples, fault = pcm.sample_rate, pcm.channels, pcm.size // (2 * pcm.channels), pcm.message
        check_bounds(rate, channels)
    else:
        reader = AudioReader(contents)
        rate, channels, fault = reader.sample_rate, reader.channels, ""
        samples = reader.claimed or reader.proven_samples() or 0
    # Of shards that others made it may be in any unit: it is believed beside what else a json of ours says.
    peak, told = facts.get("peak"), facts.get("samples", samples)
    ours = form in _PLAIN and samples > 0 and told == samples and facts.get("sample_rate") == rate
    if not (ours and isinstance(peak, float) and 0 <= peak <= 1):
        samples, peak, fault = _decoded(AudioReader(contents))
        told = facts.get("samples", samples)
    if isinstance(told, (int, float)) and told != samples:
        raise BadClipError("wrong length", f"{samples} samples instead of the {told} recorded")
    if samples == 0:
        raise BadClipError("empty", fault)
    return (offset, size, offset + pcm.at if pcm else -1, samples, rate, channels, peak), fault


def _sound_member(found: dict[str, Member]) -> str:
    """Return the suffix of the member that is a clip's sound.

    Raises:
        BadClipError: there is none, or there are several.
    """
    plain = {suffix.lower(): suffix for suffix in found}
    form = next((plain[form] for form in FORMATS if form in plain), None)
    if form is not None:
        return form
    dotted = [suffix for suffix in found if suffix.lower().rpartition(".")[2] in FORMATS]
    if len(dotted) == 1:
        return dotted[0]
    if dotted:
        raise BadClipError(
            "several recordings",
            f"{', '.join(sorted(dotted))}: names are taken up to their first dot, so use names without dots",
        )
    advice = next((reason for suffix in found if (reason := remedy(f"x.{suffix}"))), "")
    raise BadClipError("no audio", f"only {', '.join(sorted(found))}" + (f": {advice}" if advice else ""))


def _decoded(reader: AudioReader) -> tuple[int, float, str]:
    """Decode a clip; return its samples, the peak of its mono mix, and what is wrong with it.

    Raises:
        BadClipError: it has samples that are not finite.
    """
    peak = 0.0
    for block in reader.blocks():
        peak = max(peak, float(np.abs(block.mean(1)).max(initial=0)))
        if not np.isfinite(block).all():
            raise BadClipError("not finite", "samples are NaN or infinite")
    assert reader.ending is not None
    return reader.ending.samples, peak, reader.ending.message if reader.ending.faults else ""


def _facts(descriptor: int, member: Member | None) -> dict:
    if member is None:
        return {}
    if member.size > _LARGEST_JSON:
        raise BadClipError("unreadable json", f"it has {member.size:,} bytes")
    try:
        facts = parse_json(os.pread(descriptor, member.size, member.offset))
    except ValueError as error:
        raise BadClipError("unreadable json", str(error)) from None
    return facts if isinstance(facts, dict) else {}


def _bounded(key: bytes) -> bytes:
    """Return a name that is not longer than others by far: all of a shard are stored at the length of the longest."""
    return key if len(key) <= _LONGEST_KEY else key[:200] + b"_" + hashlib.sha256(key).hexdigest()[:12].encode()


def decode(contents: BinaryIO, start: int = 0, samples: int = -1, dtype: str = "float32") -> np.ndarray:
    """Decode a span of an open audio file, float32 or int16 (time, channels); by default all of it.

    The file is one whose header states its true length.

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
    return _checked(audio, start, samples)


def decode_stretch(contents: Contents, start: int, samples: int, total: int) -> np.ndarray:
    """Decode a span of a recording with `total` samples, whatever its header states: float32 (time, channels).

    Raises:
        BadClipError: as for `decode`.
    """
    try:
        with soundfile.SoundFile(io.BufferedReader(ContentsFile(contents), 1 << 16)) as file:
            if file.frames == total and file.seekable():
                begin = file.seek(max(start - LEAD_IN.get(file.format, 0), 0))
                audio = file.read(start - begin + samples, dtype="float32", always_2d=True)
                return _checked(audio[start - begin :], start, samples)
    except (soundfile.SoundFileError, RuntimeError, ValueError):
        pass  # damaged, or of a format in which this decoder cannot seek
    try:
        return _checked(AudioReader(contents).read(start, samples), start, samples)
    except (DecodingError, soundfile.SoundFileError) as error:
        raise BadClipError("undecodable", str(error).removeprefix("undecodable: ")) from None


def _checked(audio: np.ndarray, start: int, samples: int) -> np.ndarray:
    if len(audio) < samples or len(audio) == 0:
        raise BadClipError("undecodable", f"ends after {start + len(audio)} samples")
    if audio.dtype == np.float32 and not np.isfinite(audio).all():
        raise BadClipError("not finite", "samples are NaN or infinite")
    return audio


def cached_index(path: Path) -> ShardIndex:
    """Return the index of a shard: the kept one, if size and time of the shard are still the same.

    Raises:
        ValueError: the shard is missing.
        MachineError: it cannot be read.
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
        raise refused(f"the shard {path}", error) from error
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
