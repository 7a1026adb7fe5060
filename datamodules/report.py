"""What is in a data set: amounts, lengths and levels, and examples to look at. Nothing is packed or changed."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.audio_folder import AudioFolder
from datamodules.packing.recordings import Recording, Skipped, find_recordings
from datamodules.packing.segmenting import SILENCE
from datamodules.shards.index import BadClipError, Damage, ShardIndex, cached_index
from datamodules.shards.reader import Reader
from datamodules.shards.remote import RemoteCache, is_remote
from datamodules.shards.writer import MANIFEST, SPLITS
from framework.audio.decoding.reader import AudioReader, DecodingError
from framework.errors import InvalidValueError
from framework.folders import Ignored
from framework.json_text import check_kinds
from framework.os_errors import explain, of_the_machine, refused
from framework.progress import progress

_MEASURED = 400  # clips whose sound is read
_SECONDS = 30.0  # of each
_LOWEST = -100.0  # dB


class Example(NamedTuple):
    """The beginning of a clip: its name, float32 audio (time,), and sample rate in Hz."""

    name: str
    audio: np.ndarray
    sample_rate: int


@dataclass
class Report:
    """What is in a data set.

    Attributes:
        kind: What it is kept as.
        clips: Number of each split.
        hours: The hours of each split; NaN where that is not known without downloading.
        sample_rates: How many of the clips looked at have which (Hz).
        hash: The hash of all clips; "" where it is not known.
        licence: As it was given when the data was packed.
        left_out: What could not be used, wholly or in part, and why.
        ignored: Sentences about what is no recording.
        note: What the lengths and levels are of, if not of everything.
        seconds: Length of each clip looked at.
        peaks: Greatest absolute value of each clip looked at, dB re full scale.
        rms: Root mean square of up to 400 clips spread over the data, dB re full scale: a sine has 3 dB less than its
            peak.
        examples: Some of these.
    """

    kind: str
    clips: dict[str, int] = field(default_factory=dict)
    hours: dict[str, float] = field(default_factory=dict)
    sample_rates: Counter[int] = field(default_factory=Counter)
    hash: str = ""
    licence: str = ""
    left_out: list[Skipped] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    note: str = ""
    seconds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    peaks: np.ndarray = field(default_factory=lambda: np.zeros(0))
    rms: np.ndarray = field(default_factory=lambda: np.zeros(0))
    examples: list[Example] = field(default_factory=list)


def report(path: str, examples: int = 16) -> Report:
    """Look through a data set.

    Args:
        path: Whatever `AudioFolder` takes: a folder of recordings, a packed folder or its URL, or shards. Of remote
            shards the first alone is downloaded.
        examples: How many clips to keep the sound of.

    Raises:
        ValueError: there is nothing of that kind.
    """
    data = AudioFolder(path=path)
    if data.parts != (data,):
        raise InvalidValueError(f"{path}: is a mixture: name one of its data sets at a time")
    return _of_recordings(Path(path).expanduser(), examples) if data.recordings else _of_shards(data, examples)


def _take_manifest(found: Report, manifest: dict[str, Any]) -> None:
    check_kinds(manifest, {"clips": {str: int}, "hours": {str: float}, "hash": str, "licence": (str, None)})
    found.clips = {split: manifest["clips"].get(split, 0) for split in SPLITS}
    found.hours = {split: manifest["hours"].get(split, 0.0) for split in SPLITS}
    found.hash, found.licence = manifest["hash"], manifest["licence"]
    found.left_out = [Skipped(**entry) for entry in manifest.get("skipped", ())]
    found.ignored = list(Ignored(**manifest["ignored"]).messages) if "ignored" in manifest else []


def _of_shards(data: AudioFolder, examples: int) -> Report:
    manifest = data.manifest
    found = Report("shards" if manifest is None else "packed")
    located = [(split, url) for split in SPLITS for url in data.shards(split)]
    if not located:
        raise InvalidValueError(f"{data.path}: there are no shards")
    if manifest is not None:
        try:
            _take_manifest(found, manifest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InvalidValueError(f"{data.folder}/{MANIFEST}: is damaged ({error}): pack the folder again") from None
    hashes = (
        {f"{data.folder}/{r['name']}": r["sha256"] for s in SPLITS for r in manifest["shards"][s]} if manifest else {}
    )
    if any(is_remote(url) for _, url in located):
        found.note = f"of one shard out of {len(located)}"
        located = located[:1]
    cache = RemoteCache(data.cache_gigabytes)
    lengths, peaks = [], []
    totals: dict[str, tuple[int, float]] = dict.fromkeys(SPLITS, (0, 0.0))
    for split, url in progress(located, "reading shards", unit="shards"):
        descriptor, path = cache.open(url, hashes.get(url, ""))
        os.close(descriptor)
        index = cached_index(path)
        found.left_out += [_damaged(url, index, damage) for damage in index.damages]
        sound = index.clips[index.clips["samples"] > 0]
        found.sample_rates.update(sound["sample_rate"].tolist())
        lengths.append(sound["samples"] / sound["sample_rate"])
        peaks.append(sound["peak"])
        clips, seconds = totals[split]
        totals[split] = clips + len(sound), seconds + float(lengths[-1].sum())
    found.seconds, found.peaks = np.concatenate(lengths), _decibels(np.concatenate(peaks))
    if manifest is None:
        found.clips = {split: clips for split, (clips, _) in totals.items()}
        found.hours = {split: seconds / 3600 for split, (_, seconds) in totals.items()}
        found.hash = "" if found.note else data.fingerprint()
    if found.sample_rates:
        rate = found.sample_rates.most_common(1)[0][0]
        urls = [url for _, url in located]
        reader = Reader(urls, rate, hashes=[hashes.get(url, "") for url in urls], cache=cache)
        usable = np.flatnonzero(reader.lengths() > 0)
        _measure(
            found,
            usable,
            lambda c: Example(reader.key(c), reader.clip(c, round(_SECONDS * rate)), rate),
            reader.key,
            examples,
        )
    return found


def _of_recordings(folder: Path, examples: int) -> Report:
    found = Report("recordings, not packed")
    recordings, found.left_out, ignored = find_recordings(folder)
    found.ignored = list(ignored.messages)
    usable, seconds = [], []
    for recording in progress(recordings, "reading files", unit="files"):
        try:
            with AudioReader.open(recording.path) as reader:
                ending, rate = reader.measure(), reader.sample_rate
        except DecodingError as error:
            found.left_out.append(Skipped(recording.name, str(error)))
            continue
        except OSError as error:
            if of_the_machine(error):
                raise refused(recording.path, error) from error
            found.left_out.append(Skipped(recording.name, explain(error)))
            continue
        kept, lost = ending.samples / rate, ending.lost / rate
        if not kept:
            found.left_out.append(Skipped(recording.name, f"empty: {ending.message}" if ending.faults else "empty"))
            continue
        if ending.faults:
            found.left_out.append(Skipped(recording.name, f"damaged or cut short: {ending.message}", kept, lost))
        usable.append(recording)
        seconds.append(kept)
        found.sample_rates[rate] += 1
    found.seconds = np.array(seconds)
    found.clips, found.hours = {"files": len(usable)}, {"files": float(found.seconds.sum()) / 3600}
    sounds = _measure(
        found, np.arange(len(usable)), lambda n: _beginning(usable[n]), lambda n: usable[n].name, examples
    )
    found.peaks = _decibels(np.array([np.abs(audio).max() for audio in sounds]))
    return found


def _beginning(recording: Recording) -> Example:
    """Return the mono mix of the beginning of a recording.

    Raises:
        BadClipError: it has none that could be used; saying so where the channels cancel each other.
    """
    try:
        with AudioReader.open(recording.path) as reader:
            audio, rate = reader.read(0, round(_SECONDS * reader.sample_rate)), reader.sample_rate
    except (OSError, DecodingError) as error:
        raise BadClipError("undecodable", str(error)) from None
    if not len(audio) or not np.isfinite(audio).all():
        raise BadClipError("not finite" if len(audio) else "empty")
    mono = audio.mean(1)
    if np.abs(mono).max() < SILENCE <= np.abs(audio).max():
        raise BadClipError("antiphase", "the channels cancel each other in the mono mix")
    return Example(recording.name, mono, rate)


def _measure(
    found: Report, clips: np.ndarray, load: Callable[[int], Example], name: Callable[[int], str], examples: int
) -> Iterable[np.ndarray]:
    """Fill in the levels and examples from clips spread evenly; return the sound of all that were read."""
    chosen = clips[np.unique(np.linspace(0, len(clips) - 1, min(len(clips), _MEASURED)).round().astype(int))]
    loaded: list[Example] = []
    for clip in progress(chosen.tolist(), "measuring clips", unit="clips"):
        try:
            loaded.append(load(clip))
        except BadClipError as error:
            found.left_out.append(Skipped(name(clip), str(error)))
    found.rms = _decibels(np.array([np.sqrt(np.mean(np.square(e.audio, dtype=np.float64))) for e in loaded]))
    shown = np.unique(np.linspace(0, len(loaded) - 1, min(len(loaded), examples)).round().astype(int))
    found.examples = [loaded[n] for n in shown]
    return [example.audio for example in loaded]


def _damaged(url: str, index: ShardIndex, damage: Damage) -> Skipped:
    """Return what is wrong with a clip, or with the end of a shard."""
    if damage.clip < 0:
        return Skipped(url, damage.detail)
    row, name = index.clips[damage.clip], index.keys[damage.clip].decode(errors="replace")
    return Skipped(f"{url} {name}", damage.detail, float(row["samples"] / max(row["sample_rate"], 1)))


def _decibels(values: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(values, 10 ** (_LOWEST / 20)))
