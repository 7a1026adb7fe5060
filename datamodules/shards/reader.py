"""Reading segments of clips out of tar shards, and nothing but the segments."""

import bisect
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from datamodules.shards.files import ShardFiles
from datamodules.shards.index import CLIP, CUT_SHORT, BadClipError, ShardIndex, cached_index
from datamodules.shards.remote import DownloadError, RemoteCache, is_remote
from datamodules.shards.spans import Span, read_plain, read_spans
from datamodules.shards.writer import FULL_SCALE
from framework.audio.resample import resample, resampled_length, source_window
from framework.errors import InvalidValueError
from framework.json_text import LARGEST, parse_json
from framework.os_errors import refused


class Segments(NamedTuple):
    """Segments of some clips.

    Attributes:
        audio: (clips, segment), int16 where every clip is stored with 16 bits, else float32 in [-1, 1].
        starts: Where in its clip each segment begins, in samples of the reader's rate.
        errors: What is wrong with a clip, by its place among the clips asked for; its segment is silent.
    """

    audio: np.ndarray
    starts: np.ndarray
    errors: dict[int, BadClipError]


class Reader:
    """Clips of several shards by number: the shards in order, and in each the clips in order.

    Local shards are indexed at once, remote ones of known counts when they are first used. What a shard should hold
    but does not keeps its number and is an error when it is read. Shards of unknown counts are others' and may begin to
    count their clips anew: where a name repeats among those of a data set, names begin with the shard's number, `1_`.

    Args:
        urls: Paths or URLs of the shards.
        sample_rate: Hz of what is returned; clips of another rate are resampled, and several channels are averaged.
        counts: How many clips each shard should hold, if that is known.
        hashes: SHA-256 of each shard, or "" where unknown.
        sizes: Bytes of each shard, or None where unknown; for remote shards.
        prefixes: Put before the names of each shard's clips, to tell those of several data sets apart.
        cache: Where copies of remote shards are kept.

    Raises:
        ValueError: there are no shards, one of unknown content cannot be had, or one has more clips than it should.
    """

    def __init__(
        self,
        urls: Sequence[str],
        sample_rate: int,
        *,
        counts: Sequence[int] | None = None,
        hashes: Sequence[str] | None = None,
        sizes: Sequence[int | None] | None = None,
        prefixes: Sequence[str] | None = None,
        cache: RemoteCache | None = None,
    ) -> None:
        if not urls:
            raise InvalidValueError("there are no shards to read")
        self.urls, self.sample_rate = tuple(urls), sample_rate
        self._prefixes = tuple(prefixes) if prefixes else ("",) * len(urls)
        self._files = ShardFiles(self.urls, hashes or ("",) * len(urls), cache or RemoteCache(), sizes)
        self._indices: dict[int, ShardIndex] = {}
        self._keys: list[list[str]] = [[]] * len(urls)
        if counts is None:
            counts = [len(self._index(shard)) for shard in range(len(urls))]
            self._tell_apart()
        self.counts = tuple(counts)
        self._starts = np.cumsum((0, *self.counts))
        self._first = self._starts.tolist()
        self._clips = np.zeros(self._starts[-1], CLIP)
        # What is needed for every segment: samples at the reader's rate, and where they can be read as they are.
        self._lengths = np.zeros(self._starts[-1], np.int64)
        self._pcm = np.full(self._starts[-1], -1, np.int64)
        self._known = np.zeros(len(urls), bool)
        self._complete = False
        self._missing: dict[int, str] = {}
        for shard, url in enumerate(self.urls):
            if shard in self._indices or not is_remote(url):
                self.load(shard)

    def __len__(self) -> int:
        return len(self._clips)

    def load(self, shard: int) -> None:
        """Index a shard, and download it first if it is remote; nothing happens if that was done before.

        Raises:
            ValueError: it has more clips than it should: then it is another shard.
        """
        if self._known[shard]:
            return
        count = self.counts[shard]
        try:
            index = self._index(shard)
        except (DownloadError, ValueError) as error:
            self._missing[shard] = str(error)
        else:
            if len(index) > count:
                raise InvalidValueError(
                    f"{self.urls[shard]}: has {len(index)} clips instead of {count}: pack the data again"
                )
            here = slice(self._starts[shard], self._starts[shard] + len(index))
            self._clips[here] = index.clips
            rates = np.maximum(index.clips["sample_rate"], 1).astype(np.int64)
            self._lengths[here] = -(-index.clips["samples"] * self.sample_rate // rates)
            plain = (index.clips["channels"] == 1) & (index.clips["sample_rate"] == self.sample_rate)
            self._pcm[here] = np.where(plain, index.clips["pcm"], -1)
            self._missing[shard] = next((d.detail for d in index.damages if d.clip < 0), "it has fewer clips")
        self._known[shard] = True
        self._complete = bool(self._known.all())

    @property
    def hash(self) -> str:
        """Hash of the clips' names, lengths and peaks, for shards that have no manifest; indexes all of them."""
        digest = hashlib.sha256()
        for shard in range(len(self.urls)):
            self.load(shard)
            index = self._indices.get(shard)
            if index is not None:
                for column in ("samples", "sample_rate", "peak"):
                    digest.update(np.ascontiguousarray(index.clips[column]).tobytes())
                digest.update(b"\n".join(index.keys.tolist()))
        return digest.hexdigest()

    def fetch(self, shard: int, abandoned: Callable[[], bool] = lambda: False) -> None:
        """Have a remote shard's copy made; safe beside reading in another thread.

        Args:
            shard: Its number.
            abandoned: Says whether it is not wanted any more.

        Raises:
            DownloadError: it cannot be had.
        """
        self._files.path(shard, abandoned)

    def key(self, clip: int) -> str:
        """Return a clip's name, or shard and number where that is lost."""
        return self._key(*self._locate(clip))

    def keys(self, clips: np.ndarray) -> list[str]:
        """Return the names of clips."""
        shards = np.searchsorted(self._starts, clips, "right") - 1
        rows = (clips - self._starts[shards]).tolist()
        names = [self._keys[shard] for shard in shards.tolist()]
        return [
            known[row] if row < len(known) else self._key(shard, row)
            for known, shard, row in zip(names, shards.tolist(), rows, strict=True)
        ]

    def member(self, clip: int, suffix: str, largest: int | None = None) -> bytes | None:
        """Return the bytes of a further member of a clip (`f0.npy`, `alto.flac`), or None if it has no such member.

        Raises:
            BadClipError: it cannot be read whole, or has more bytes than `largest`.
        """
        shard, row = self._locate(clip)
        self.load(shard)
        index = self._indices.get(shard)
        if index is None or row >= len(index) or suffix not in index.suffixes:
            return None
        offset, size = index.members[row, index.suffixes.index(suffix)].tolist()
        if largest is not None and size > largest:
            raise BadClipError("unreadable", f"{suffix} has {size:,} bytes")
        return None if offset < 0 else self._files.contents(shard, offset, size)

    def metadata(self, clip: int) -> dict[str, Any]:
        """Return what a clip's json says; nothing, if it has none.

        Raises:
            BadClipError: it is no JSON.
        """
        try:
            facts = parse_json(self.member(clip, "json", LARGEST) or "{}")
        except BadClipError:
            raise
        except ValueError as error:
            raise BadClipError("unreadable json", str(error)) from None
        return facts if isinstance(facts, dict) else {}

    def lengths(self) -> np.ndarray:
        """Return the samples of all clips at the reader's rate; 0 for damaged clips and those not yet known."""
        return self._lengths.copy()

    def seconds(self, clip: int) -> float:
        """Return the length of a clip (s); 0 for a damaged one."""
        row = self._clips[clip]
        return float(row["samples"] / max(row["sample_rate"], 1))

    def peaks(self, clips: np.ndarray) -> np.ndarray:
        """Return the greatest absolute value of each clip, in [0, 1]."""
        return self._clips["peak"][clips]

    def bad_clips(self) -> dict[int, BadClipError]:
        """Return the clips that are known to be bad without reading their sound."""
        known = np.repeat(self._known, self.counts)
        return {int(clip): self._reason(int(clip)) for clip in np.flatnonzero(known & (self._clips["samples"] == 0))}

    def cut_short(self) -> dict[str, str]:
        """Return what is wrong with clips that are used up to where they can be decoded, by their names."""
        return {
            self._key(shard, damage.clip): damage.detail
            for shard, index in self._indices.items()
            for damage in index.damages
            if damage.kind == CUT_SHORT and damage.clip >= 0
        }

    def segments(self, clips: np.ndarray, fractions: np.ndarray, segment: int) -> Segments:
        """Read one segment of each clip.

        Args:
            clips: Numbers (clips,).
            fractions: Where the segments begin (clips,): 0 for the clip's begin, up to 1 for the last place possible.
            segment: Length in samples; shorter clips are padded with zeros.
        """
        shards = np.searchsorted(self._starts, clips, "right") - 1
        if not self._complete:
            for shard in np.unique(shards[~self._known[shards]]).tolist():
                self.load(shard)
        lengths = self._lengths[clips]
        starts = (fractions * (np.maximum(lengths - segment, 0) + 1)).astype(np.int64)
        counts = np.minimum(lengths, segment)
        pcm = self._pcm[clips]
        audio, rest, errors = read_plain(self._files, shards, np.where(pcm < 0, -1, pcm + 2 * starts), counts, segment)
        wanted = [(int(clips[slot]), int(starts[slot]), int(counts[slot])) for slot in rest]
        found = self._windows(wanted) if rest else []
        for slot, window in zip(rest, found, strict=True):
            if isinstance(window, BadClipError):
                errors[slot] = window
                continue
            if window.dtype != audio.dtype:
                audio, window = as_float(audio), as_float(window)
            audio[slot, : counts[slot]] = window
            audio[slot, counts[slot] :] = 0
        for slot in errors:
            audio[slot] = 0
        return Segments(audio, starts, errors)

    def length(self, clip: int) -> int:
        """Return the samples of a clip at the reader's rate; 0 for a damaged one."""
        self.load(self._locate(clip)[0])
        row = self._clips[clip]
        return resampled_length(int(row["samples"]), int(row["sample_rate"]) or 1, self.sample_rate)

    def clip(self, clip: int, samples: int, start: int = 0) -> np.ndarray:
        """Return `samples` samples of a clip from `start` on, or what there is: float32 (time,) in [-1, 1].

        Raises:
            BadClipError: the clip cannot be used.
        """
        (window,) = self._windows([(clip, start, min(samples, self.length(clip) - start))])
        if isinstance(window, BadClipError):
            raise window
        return as_float(window)

    def close(self) -> None:
        """Close all shards; they are opened again when they are needed."""
        self._files.close()

    def _windows(self, wanted: Sequence[tuple[int, int, int]]) -> list[np.ndarray | BadClipError]:
        """Read samples of clips, given as (clip, start, count) at the reader's rate.

        Returns:
            (count,) each, int16 where nothing but 16 bit mono is stored, else float32; or what is wrong with the clip.
        """
        found: list[np.ndarray | BadClipError] = [BadClipError("")] * len(wanted)
        spans, skips = {}, {}
        for slot, (clip, start, count) in enumerate(wanted):
            row = self._clips[clip]
            if row["samples"] == 0:
                found[slot] = self._reason(clip)
                continue
            begin, end, skips[slot] = start, start + count, 0
            if row["sample_rate"] != self.sample_rate:
                known = int(row["samples"]), int(row["sample_rate"])
                begin, end, skips[slot] = source_window(start, count, *known, self.sample_rate)
            spans[slot] = Span(self._locate(clip)[0], row, begin, end - begin)
        read = read_spans(self._files, list(spans.values()))
        for (slot, span), samples in zip(spans.items(), read, strict=True):
            found[slot] = samples
            if isinstance(samples, np.ndarray):
                mono = samples[:, 0] if samples.shape[1] == 1 else as_float(samples).mean(1)
                rate = int(span.row["sample_rate"])
                if rate != self.sample_rate:
                    mono = resample(as_float(mono), rate, self.sample_rate)[skips[slot] :][: wanted[slot][2]]
                found[slot] = mono
        return found

    def _tell_apart(self) -> None:
        """Number the shards of a data set in its clips' names, where a name is in several of them."""
        for prefix in set(self._prefixes):
            shards = [shard for shard, its in enumerate(self._prefixes) if its == prefix]
            names = [set(self._keys[shard]) for shard in shards]
            if len(set().union(*names)) < sum(map(len, names)):
                for number, shard in enumerate(shards, 1):
                    known = self._keys[shard]
                    self._keys[shard] = [f"{prefix}{number}_{key.removeprefix(prefix)}" for key in known]

    def _key(self, shard: int, row: int) -> str:
        known = self._keys[shard]
        return known[row] if row < len(known) else f"{self.urls[shard]} clip {row}"

    def _locate(self, clip: int) -> tuple[int, int]:
        shard = bisect.bisect_right(self._first, clip) - 1
        return shard, clip - self._first[shard]

    def _reason(self, clip: int) -> BadClipError:
        shard, row = self._locate(clip)
        index = self._indices.get(shard)
        if index is None or row >= len(index):
            return BadClipError("lost with its shard", self._missing.get(shard, ""))
        kind, detail = next((d.kind, d.detail) for d in index.damages if d.clip == row)
        return BadClipError(kind, detail.removeprefix(f"{kind}: "))

    def _index(self, shard: int) -> ShardIndex:
        if shard not in self._indices:
            try:
                path = self._files.path(shard)
            except OSError as error:
                raise refused(f"the shard {self.urls[shard]}", error) from error
            self._indices[shard] = cached_index(path)
            prefix, keys = self._prefixes[shard], self._indices[shard].keys.tolist()
            self._keys[shard] = [prefix + key.decode(errors="replace") for key in keys]
        return self._indices[shard]


def as_float(audio: np.ndarray) -> np.ndarray:
    """Return int16 samples as float32 in [-1, 1); float32 as it is."""
    return audio.astype(np.float32) / np.float32(FULL_SCALE) if audio.dtype == np.int16 else audio
