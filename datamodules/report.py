"""What is in a data set: amounts, lengths and levels, and examples to look at. Nothing is packed or changed."""

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from datamodules.audio_folder import AudioFolder
from datamodules.index import BadClipError, cached_index
from datamodules.reader import Reader
from datamodules.recordings import Recording, Skipped, find_recordings
from datamodules.remote import RemoteCache, is_remote
from datamodules.shards import SPLITS
from framework.errors import InvalidValueError

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
        hours: Of each split; NaN where that is not known without downloading.
        sample_rates: How many of the clips looked at have which (Hz).
        hash: Of all clips; "" where it is not known.
        licence: As it was given when the data was packed.
        left_out: What could not be used, and why.
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


def _of_shards(data: AudioFolder, examples: int) -> Report:
    manifest = data.manifest
    found = Report("shards" if manifest is None else "packed")
    located = [(split, url) for split in SPLITS for url in data.shards(split)]
    if not located:
        raise InvalidValueError(f"{data.path}: there are no shards")
    if manifest is not None:
        found.clips, found.hours = manifest["clips"], manifest["hours"]
        found.hash, found.licence = manifest["hash"], manifest["licence"]
        found.left_out = [Skipped(**entry) for entry in manifest.get("skipped", ())]
    hashes = (
        {f"{data.folder}/{r['name']}": r["sha256"] for s in SPLITS for r in manifest["shards"][s]} if manifest else {}
    )
    if any(is_remote(url) for _, url in located):
        found.note = f"of one shard out of {len(located)}"
        located = located[:1]
    cache = RemoteCache(data.cache_gigabytes)
    lengths, peaks = [], []
    totals: dict[str, tuple[int, float]] = dict.fromkeys(SPLITS, (0, 0.0))
    for split, url in located:
        descriptor, path = cache.open(url, hashes.get(url, ""))
        os.close(descriptor)
        index = cached_index(path)
        found.left_out += [Skipped(f"{url} {_name(index.keys, d.clip)}".strip(), d.detail) for d in index.damages]
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
            found, usable, lambda c: Example(reader.key(c), reader.clip(c, round(_SECONDS * rate)), rate), examples
        )
    return found


def _of_recordings(folder: Path, examples: int) -> Report:
    found = Report("recordings, not packed")
    recordings, found.left_out = find_recordings(folder)
    usable, seconds = [], []
    for recording in recordings:
        try:
            info = soundfile.info(recording.path)
        except (OSError, soundfile.SoundFileError) as error:
            found.left_out.append(Skipped(recording.name, str(error)))
            continue
        usable.append(recording)
        seconds.append(info.frames / info.samplerate)
        found.sample_rates[info.samplerate] += 1
    found.seconds = np.array(seconds)
    found.clips, found.hours = {"files": len(usable)}, {"files": float(found.seconds.sum()) / 3600}
    sounds = _measure(found, np.arange(len(usable)), lambda number: _beginning(usable[number]), examples)
    found.peaks = _decibels(np.array([np.abs(audio).max() for audio in sounds]))
    return found


def _beginning(recording: Recording) -> Example:
    try:
        with soundfile.SoundFile(recording.path) as file:
            audio = file.read(round(_SECONDS * file.samplerate), dtype="float32", always_2d=True).mean(1)
            rate = file.samplerate
    except (OSError, soundfile.SoundFileError) as error:
        raise BadClipError("undecodable", str(error)) from None
    if not len(audio) or not np.isfinite(audio).all():
        raise BadClipError("not finite" if len(audio) else "empty")
    return Example(recording.name, audio, rate)


def _measure(found: Report, clips: np.ndarray, load: Callable[[int], Example], examples: int) -> Iterable[np.ndarray]:
    """Fill in the levels and examples from clips spread evenly; return the sound of all that were read."""
    chosen = clips[np.unique(np.linspace(0, len(clips) - 1, min(len(clips), _MEASURED)).round().astype(int))]
    loaded: list[Example] = []
    for clip in chosen.tolist():
        try:
            loaded.append(load(clip))
        except BadClipError as error:
            found.left_out.append(Skipped(f"clip {clip}", str(error)))
    found.rms = _decibels(np.array([np.sqrt(np.mean(np.square(e.audio, dtype=np.float64))) for e in loaded]))
    shown = np.unique(np.linspace(0, len(loaded) - 1, min(len(loaded), examples)).round().astype(int))
    found.examples = [loaded[n] for n in shown]
    return [example.audio for example in loaded]


def _name(keys: np.ndarray, clip: int) -> str:
    return keys[clip].decode(errors="replace") if clip >= 0 else ""


def _decibels(values: np.ndarray) -> np.ndarray:
    return 20 * np.log10(np.maximum(values, 10 ** (_LOWEST / 20)))
