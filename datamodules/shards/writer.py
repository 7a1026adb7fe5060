"""Writing packed data sets: webdataset tar shards whose bytes depend on nothing but the clips, and their manifest.

A packed data set is a folder `<folder>/<split>/000000.tar ...` with a manifest `<folder>/dataset.json`. The manifest
is written last: a folder without one is unfinished. In a shard each clip is `key.wav` or `key.flac` (the mix, 16 bit,
mono), then `key.json` (`sample_rate` in Hz, `samples`, `peak` in [0, 1] and more), then any further members.
"""

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import soundfile

from datamodules.shards.remote import is_remote, local_path, read_url
from framework.errors import InvalidValueError
from framework.json_text import parse_json
from framework.os_errors import refused
from framework.writing import write_atomically

SPLITS = ("train", "validation", "test")
MANIFEST = "dataset.json"
FULL_SCALE = 32768
"""Full scale of 16 bit samples: stored sample / FULL_SCALE lies in [-1, 1)."""

_KEY = re.compile(r"[^\x00-\x20./\\:*?\"<>|{}]+")
_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_CLIPS = 10**8
"""Clips of a data set that a manifest may state: memory is needed for each."""
_MEMBER = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


class ShardWriter:
    """Write clips into the numbered shards of one split; a shard appears under its name only when it is whole.

    Beside each `000000.tar` a record `000000.json` says what is in it; `write_manifest` gathers the records. Both are
    the same bytes whenever the clips are the same.

        with ShardWriter(folder, "train") as writer:
            writer.write("BWV_253", audio, 22050, {"instrument": "organ"}, {"f0.npy": f0})
        write_manifest(folder, licence="CC0-1.0")

    Args:
        folder: The data set's folder.
        split: train, validation or test.
        format: `wav` is read fastest, `flac` is about half as large.
        shard_bytes: A shard is closed when it has reached this size.
        first: Number of the first shard, for several writers side by side.
    """

    def __init__(
        self,
        folder: str | Path,
        split: str,
        *,
        format: Literal["wav", "flac"] = "wav",
        shard_bytes: int = 1 << 26,
        first: int = 0,
    ) -> None:
        self.folder = Path(folder) / split
        self.format: Literal["wav", "flac"] = format
        self.shard_bytes = shard_bytes
        self._number = first
        self._keys: set[str] = set()
        self._file: io.BufferedRandom | None = None
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        key: str,
        audio: np.ndarray,
        sample_rate: int,
        metadata: Mapping[str, Any] | None = None,
        members: Mapping[str, bytes | np.ndarray] | None = None,
    ) -> None:
        """Add a clip.

        Args:
            key: Its name, without dots, slashes and blanks (webdataset would merge `take_0.5` and `take_0.7`).
            audio: Float mix (time,) in [-1, 1]; stored rounded to 16 bits.
            sample_rate: Hz.
            metadata: Whatever JSON can hold.
            members: Further files by the end of their names: bytes as they are; an array as 16 bit audio under
                `*.flac` and `*.wav`, and as a numpy array under `*.npy`.

        Raises:
            ValueError: a bad or repeated key or member name, or audio that is empty, not mono, not finite or too loud.
        """
        pcm = _pcm(key, audio)
        _check_names(key, self._keys, members or {})
        facts = {
            "sample_rate": sample_rate,
            "samples": len(pcm),
            "peak": int(np.abs(pcm.astype(np.int32)).max()) / FULL_SCALE,
        }
        description = json.dumps(dict(metadata or {}) | facts, sort_keys=True, ensure_ascii=False).encode()
        contents = {
            n: v if isinstance(v, bytes) else _encode(f"{key}.{n}", v, sample_rate) for n, v in (members or {}).items()
        }
        if self._file is None:
            self._open()
        assert self._file is not None
        self._keys.add(key)
        # One call a member: a single call would sort the members by name, and the mix is to come first.
        self._tar.write({"__key__": key, self.format: encode_audio(pcm, sample_rate, self.format)})
        self._tar.write({"__key__": key, "json": description})
        for name in sorted(contents):
            self._tar.write({"__key__": key, name: contents[name]})
        self._count(key, pcm, sample_rate, [description, *(_content(n, contents[n]) for n in sorted(contents))])
        if self._file.tell() >= self.shard_bytes:
            self._close()

    def _open(self) -> None:
        self._part = self.folder / f".{self._number:06d}.tar.part"
        self._file = open(self._part, "w+b")  # noqa: SIM115
        # Only who packs needs it, not who uses a system that was trained on such data.
        from webdataset import TarWriter

        self._tar = TarWriter(self._file, user="", group="", mtime=0, encoder=False)
        self._hash = hashlib.sha256()
        self._record: dict[str, Any] = {"clips": 0, "seconds": 0.0, "longest": 0.0, "sample_rates": []}

    def _count(self, key: str, pcm: np.ndarray, sample_rate: int, contents: Iterable[bytes]) -> None:
        # The sound is hashed, not its encoding: another version of an encoder leaves the data set what it was.
        for part in (key.encode(), pcm.tobytes(), *contents):
            self._hash.update(hashlib.sha256(part).digest())
        self._record["clips"] += 1
        seconds = len(pcm) / sample_rate
        self._record["seconds"] += seconds
        self._record["longest"] = max(self._record["longest"], round(seconds, 6))
        self._record["sample_rates"] = sorted({*self._record["sample_rates"], sample_rate})

    def _close(self) -> None:
        assert self._file is not None
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.seek(0)
        sha256 = hashlib.file_digest(self._file, "sha256").hexdigest()
        size = self._file.seek(0, os.SEEK_END)
        self._file.close()
        self._file = None
        name = f"{self._number:06d}.tar"
        record = self._record | {"seconds": round(self._record["seconds"], 6), "bytes": size}
        record |= {"hash": self._hash.hexdigest(), "sha256": sha256}
        # The record first: a shard that is there under its name always has one.
        write_json(self.folder / f"{self._number:06d}.json", record)
        os.replace(self._part, self.folder / name)
        self._number += 1

    def close(self) -> None:
        """Finish the last shard."""
        if self._file is not None:
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        elif self._file is not None:
            with contextlib.suppress(OSError):  # a full disk refuses what is left in the buffer, too
                self._file.close()
            self._part.unlink(missing_ok=True)
            self._file = None


def write_manifest(folder: str | Path, *, licence: str = "", **facts: Any) -> dict[str, Any]:
    """Write `dataset.json` from the records of all shards and return it; with it the data set counts as whole.

    It holds clips, hours, the longest clip (seconds), sample rates (Hz), licence, the shards of each split with their
    records, whatever else is passed, and `hash`: over keys, sound and metadata of all clips in order, independent of
    file format and time.

    Raises:
        ValueError: there is no clip, or a shard has no record.
    """
    folder = Path(folder)
    splits = {split: [_record(shard) for shard in sorted((folder / split).glob("*.tar"))] for split in SPLITS}
    records = [record for shards in splits.values() for record in shards]
    if not records:
        raise InvalidValueError(f"{folder}: nothing was packed, there is not one clip")
    digest = hashlib.sha256("".join(f"{s}:{r['hash']}\n" for s, shards in splits.items() for r in shards).encode())
    manifest = {
        "version": 1,
        "clips": {split: sum(r["clips"] for r in shards) for split, shards in splits.items()},
        "hours": {split: round(sum(r["seconds"] for r in shards) / 3600, 6) for split, shards in splits.items()},
        "longest": max(r["longest"] for r in records),
        "sample_rates": sorted({rate for r in records for rate in r["sample_rates"]}),
        "hash": digest.hexdigest(),
        "licence": licence,
        **facts,
        "shards": {s: [{"name": f"{s}/{r.pop('name')}"} | r for r in shards] for s, shards in splits.items()},
    }
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """Return the contents of `dataset.json` in a folder, which may be a URL.

    Raises:
        ValueError: the folder is missing, not packed, or packed only in part.
    """
    path = f"{str(folder).rstrip('/')}/{MANIFEST}"
    try:
        contents = read_url(path) if is_remote(path) else local_path(path).read_bytes()
    except FileNotFoundError:
        there = local_path(str(folder)).is_dir()
        raise InvalidValueError(
            f"{path}: not there: {'pack the folder again' if there else 'no such folder'}"
        ) from None
    except OSError as error:
        raise refused(path, error) from error
    try:
        manifest = parse_json(contents)
    except ValueError as error:
        raise InvalidValueError(f"{path}: unreadable ({error}): pack the folder again") from None
    if wrong := _wrong_in_manifest(manifest):
        raise InvalidValueError(f"{path}: {wrong}: pack the folder again")
    return manifest


def read_data_set(folder: str | Path) -> dict[str, Any]:
    """Return the contents of `dataset.json` in a folder, which may be a URL, with its shards and its hash.

    Raises:
        ValueError: as of `read_manifest`, or it has none.
    """
    manifest = read_manifest(folder)
    if missing := next(
        (n for n, kind in (("shards", dict), ("hash", str)) if not isinstance(manifest.get(n), kind)), ""
    ):
        path = f"{str(folder).rstrip('/')}/{MANIFEST}"
        raise InvalidValueError(f"{path}: it has no {missing}: pack the folder again")
    return manifest


def _wrong_in_manifest(manifest: Any) -> str:
    """Return what is wrong with the contents of a `dataset.json`; nothing, if it can be used."""
    if not isinstance(manifest, dict):
        return "it has no shards"
    if not isinstance(manifest.get("shards", {}), dict):
        return "its shards are no table"
    if "shards" not in manifest:
        return ""
    clips = 0
    for split in SPLITS:
        records = manifest["shards"].setdefault(split, [])
        if not isinstance(records, list):
            return f"its {split} shards are no list"
        for number, record in enumerate(records):
            if wrong := _wrong_in_record(record):
                return f"entry {number + 1} of its {split} shards has {wrong}"
            clips += record["clips"]
    return f"its shards have {clips:,} clips" if clips > _MOST_CLIPS else ""


def _wrong_in_record(record: Any) -> str:
    """Return what is wrong with what a manifest says of a shard; nothing, if it can be used."""
    if not isinstance(record, dict):
        return "no record"
    name, size = record.get("name"), record.get("bytes", 0)
    if not isinstance(name, str) or not name.endswith(".tar"):
        return f"no name of a tar file: {str(name)[:100]!r}"
    if name.startswith("/") or set(re.split(r"[/\\]", name)) & {"..", ".", ""} or re.search(r"[:?#\x00-\x1f]", name):
        return f"a name outside of the folder: {name[:100]!r}"
    if not _is_count(record.get("clips")) or not _is_count(size):
        return f"impossible numbers of clips and bytes: {record.get('clips')!r} and {size!r}"
    if size and record["clips"] > size // 512:
        return f"more clips than fit into its bytes: {record['clips']:,} in {size:,}"
    if not isinstance(record.get("sha256"), str) or not _SHA256.fullmatch(record["sha256"]):
        return "no SHA-256"
    longest = record.get("longest", 0)
    if isinstance(longest, bool) or not isinstance(longest, (int, float)) or not 0 <= longest < float("inf"):
        return f"an impossible length: {longest!r}"
    return ""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 50


def write_json(path: Path, contents: Any) -> None:
    """Write JSON so that the file is either the old or the new one, never half of it."""
    write_atomically(path, json.dumps(contents, indent=1, ensure_ascii=False))


def encode_audio(pcm: np.ndarray, sample_rate: int, format: str) -> bytes:
    """Return int16 samples (time,) or (time, channels) as the bytes of a 16 bit wav or flac file."""
    buffer = io.BytesIO()
    soundfile.write(buffer, pcm, sample_rate, format=format.upper(), subtype="PCM_16")
    return buffer.getvalue()


def to_pcm(audio: np.ndarray) -> np.ndarray:
    """Return float samples in [-1, 1] rounded to int16."""
    return np.clip(np.rint(audio * np.float64(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")


def _pcm(key: str, audio: np.ndarray) -> np.ndarray:
    if audio.ndim != 1 or audio.size == 0:
        raise InvalidValueError(f"{key}: expected audio (time,) with at least one sample, got shape {audio.shape}")
    if not np.isfinite(audio).all():
        raise InvalidValueError(f"{key}: the audio has samples that are NaN or infinite")
    peak = float(np.abs(audio).max())
    if peak > 1 + 1 / FULL_SCALE:
        raise InvalidValueError(f"{key}: the audio reaches {peak:.3g}: scale it into [-1, 1]")
    return to_pcm(audio)


def _check_names(key: str, known: set[str], members: Mapping[str, Any]) -> None:
    if not _KEY.fullmatch(key) or len(key.encode()) > 200:
        raise InvalidValueError(f"{key!r}: a key must not be empty or long, nor have dots, slashes or blanks in it")
    if key in known:
        raise InvalidValueError(f"{key!r}: the key is used twice")
    for name in members:
        if not _MEMBER.fullmatch(name) or name in ("wav", "flac", "json"):
            raise InvalidValueError(f"{key}.{name}: not a name for a further member")


def _encode(name: str, value: np.ndarray, sample_rate: int) -> bytes:
    form = name.rpartition(".")[2]
    if form in ("wav", "flac"):
        if not np.isfinite(value).all():
            raise InvalidValueError(f"{name}: the audio has samples that are NaN or infinite")
        return encode_audio(to_pcm(value), sample_rate, form)
    if form != "npy":
        raise InvalidValueError(f"{name}: an array is stored as .npy, .flac or .wav")
    buffer = io.BytesIO()
    np.save(buffer, value, allow_pickle=False)
    return buffer.getvalue()


def _content(name: str, contents: bytes) -> bytes:
    if name.rpartition(".")[2] == "flac":
        contents = soundfile.read(io.BytesIO(contents), dtype="int16")[0].tobytes()
    return name.encode() + b"\0" + contents


def _record(shard: Path) -> dict[str, Any]:
    try:
        return {"name": shard.name} | json.loads(shard.with_suffix(".json").read_text())
    except (OSError, ValueError):
        raise InvalidValueError(f"{shard}: has no record beside it, so it was not written whole: remove it") from None
