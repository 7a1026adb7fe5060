"""Recordings cut into clips: decoded piece by piece, resampled, mixed to mono, written into one shard."""

import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from datamodules.packing.recordings import Job, Recording, Skipped
from datamodules.shards.writer import ShardWriter
from framework.audio.decoding.reader import AudioReader, DecodingError, Ending
from framework.audio.integrated_loudness import LOWEST_RATE, LoudnessMeter
from framework.audio.pitch_grid import FRAME_RATE
from framework.audio.resample import resample_blocks, resampled_length
from framework.os_errors import explain, of_the_machine, refused

_SHORTEST = 0.01  # seconds
SILENCE = 1e-4
"""Peak below which a clip counts as silent: -80 dB."""
_KEPT = 1 << 24  # samples of a recording that are kept in memory instead of decoding it again
_CEILING = 10 ** (-1 / 20)  # peak after a change of loudness, -1 dB: room for resampling (EBU R 128, maximum peak)


class Treatment(NamedTuple):
    """What is done to recordings.

    Attributes:
        sample_rate: Hz of the clips; None keeps each file's own.
        format: The format of the clips.
        clip_seconds: Greatest length; longer files are cut into clips of equal length.
        trim: Level in dB below the file's peak, under which its begin and end count as silence and are cut off.
        loudness: LUFS that each file as a whole, resampled, is brought to, as far as its peaks allow; None leaves it.
        f0: Whether the pitch of each clip is tracked.
    """

    sample_rate: int | None
    format: Literal["wav", "flac"]
    clip_seconds: float
    trim: float | None
    loudness: float | None
    f0: bool = False


class Scaled(NamedTuple):
    """A recording that goes beyond full scale, and the factor that all its clips were multiplied by."""

    file: str
    factor: float


class Packed(NamedTuple):
    """What is to be known of packed recordings.

    Attributes:
        skipped: What could not be used, whole files and parts of them.
        quieter: Names of files that stay quieter than the loudness asked for.
        scaled: Files that go beyond full scale.
    """

    skipped: list[Skipped]
    quieter: list[str]
    scaled: list[Scaled] = []


def pack_shard(folder: Path, job: Job, treatment: Treatment) -> Packed:
    """Write one shard and return what is to be known of it; there is no shard if nothing could be used."""
    packed = Packed([], [], [])
    with ShardWriter(folder, job.split, format=treatment.format, first=job.number, shard_bytes=1 << 62) as writer:
        for key, recording in job.recordings:
            for number, clip in enumerate(_readable(recording, treatment)):
                if isinstance(clip, Skipped):
                    packed.skipped.append(clip)
                    continue
                facts = {"source": recording.name, "start": clip.start, "source_rate": clip.source_rate}
                members: dict[str, bytes | np.ndarray] = {}
                if treatment.f0:
                    facts["frame_rate"] = FRAME_RATE
                    members["f0.npy"] = _pitch(clip)
                if clip.level.quieter and recording.name not in packed.quieter[-1:]:
                    packed.quieter.append(recording.name)
                if treatment.loudness is None and clip.level.scale < 1:
                    scaled = Scaled(recording.name, clip.level.scale)
                    packed.scaled.extend([scaled] if scaled not in packed.scaled[-1:] else [])
                name = key if clip.whole else f"{key}-{number:04d}"
                writer.write(name, clip.audio, clip.sample_rate, facts, members)
    return packed


class _Clip(NamedTuple):
    audio: np.ndarray
    sample_rate: int
    start: float
    source_rate: int
    whole: bool
    level: "_Level"


def _pitch(clip: _Clip) -> np.ndarray:
    """Track the pitch of a clip."""
    # Packing alone does without torch, whose import takes longer than most folders.
    import torch

    from framework.audio.pitch import pitch_values

    torch.set_num_threads(1)
    return pitch_values(torch.from_numpy(clip.audio).float(), clip.sample_rate)


def _readable(recording: Recording, treatment: Treatment) -> Iterator[_Clip | Skipped]:
    """Yield a recording's clips, and what of it is left out because it cannot be read."""
    # Errors of whoever writes the clips do not come by here: a full disk is no fault of the recording.
    try:
        with AudioReader.open(recording.path) as reader:
            yield from _clips(reader, recording.name, treatment)
    except DecodingError as error:
        yield Skipped(recording.name, str(error))
    except OSError as error:
        if of_the_machine(error):
            raise refused(recording.path, error) from error
        yield Skipped(recording.name, explain(error))


def _clips(reader: AudioReader, name: str, treatment: Treatment) -> Iterator[_Clip | Skipped]:
    """Yield the clips of a file, with no more in memory than a few minutes of it, and what of it is left out."""
    source_rate, rate = reader.sample_rate, treatment.sample_rate or reader.sample_rate
    sound = _Sound(reader, keep=treatment.trim is not None)
    begin, end = (0, None) if treatment.trim is None else sound.extent(treatment.trim)
    audio = _Kept(lambda: resample_blocks(sound.span(begin, end), source_rate, rate))
    level = _level(audio, rate, treatment.loudness)
    ending = sound.ending
    end = ending.samples if end is None else end
    fault = f": {ending.message}" if ending.faults else ""
    if end - begin < _SHORTEST * source_rate:
        yield Skipped(name, f"{'empty' if end <= begin else f'shorter than {_SHORTEST * 1000:.0f} ms'}{fault}")
        return
    if fault:
        kept, lost = ending.samples / source_rate, ending.lost / source_rate
        yield Skipped(name, f"damaged or cut short{fault}", round(kept, 3), round(lost, 3))
    total = resampled_length(end - begin, source_rate, rate)
    count = math.ceil(total / (treatment.clip_seconds * rate))
    edges = np.linspace(0, total, count + 1).round().astype(int).tolist()
    for (first, last), piece in zip(itertools.pairwise(edges), _cut(audio, edges), strict=True):
        where = f"{first / rate:.1f} to {last / rate:.1f} s" if count > 1 else "the file"
        loudest = sound.loudest(*(begin + edge * source_rate / rate for edge in (first, last)))
        if np.isnan(loudest):
            yield Skipped(name, f"not finite: {where} has samples that are NaN or infinite")
        elif float(np.abs(piece).max()) * level.scale >= SILENCE:
            # Rounding may leave a peak that was brought to full scale a little beyond.
            clip = np.clip(piece * np.float32(level.gain), -1, 1)
            start = begin / source_rate + first / rate
            yield _Clip(clip, rate, start, source_rate, count == 1, level)
        elif loudest * level.scale >= SILENCE:
            yield Skipped(name, f"antiphase: {where}: the channels cancel each other in the mono mix")
        else:
            yield Skipped(name, f"silent: {where}")


class _Kept:
    """Blocks of audio that can be gone through several times; they are kept where they are not too many.

    Args:
        blocks: Computes them.
    """

    def __init__(self, blocks: Callable[[], Iterator[np.ndarray]]) -> None:
        self._blocks = blocks
        self._kept: list[np.ndarray] | None = None

    def __iter__(self) -> Iterator[np.ndarray]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[np.ndarray] = []
        samples = 0
        for block in self._blocks():
            yield block
            samples += len(block)
            if samples <= _KEPT:
                kept.append(block)
            else:
                kept.clear()
        self._kept = kept if samples <= _KEPT else None


class _Again:
    """Blocks of audio that are computed again each time they are gone through."""

    def __init__(self, blocks: Callable[[], Iterator[np.ndarray]]) -> None:
        self._blocks = blocks

    def __iter__(self) -> Iterator[np.ndarray]:
        return self._blocks()


class _Sound:
    """The mono mix of a recording, and its levels, which are known when it was gone through once.

    Args:
        reader: The recording.
        keep: Whether it will be gone through again.
    """

    def __init__(self, reader: AudioReader, keep: bool) -> None:
        self._reader, self._hop = reader, max(reader.sample_rate // 100, 1)
        self._mono: Iterable[np.ndarray] = _Kept(self._mix) if keep else _Again(self._mix)
        self._levels: list[np.ndarray] = []
        self._measured = False

    @property
    def ending(self) -> Ending:
        """How its decoding ended."""
        assert self._reader.ending is not None
        return self._reader.ending

    def extent(self, trim: float) -> tuple[int, int]:
        """Return where the sound begins and ends, in samples, without what is `trim` dB below the peak."""
        for _ in self._mono:
            pass
        level = np.nan_to_num(self._level)  # the clip with such a sample is left out, not the whole file
        heard = np.flatnonzero(level > level.max(initial=0) * 10 ** (-trim / 20))
        if not len(heard):
            return 0, 0
        return int(heard[0]) * self._hop, min(int(heard[-1] + 1) * self._hop, self.ending.samples)

    def loudest(self, begin: float, end: float) -> float:
        """Return the greatest absolute value of any channel between two samples; NaN if one is not finite."""
        return float(self._level[int(begin // self._hop) : math.ceil(end / self._hop)].max(initial=0))

    def span(self, begin: int, end: int | None) -> Iterator[np.ndarray]:
        """Yield the mono mix from sample `begin` to `end`; samples that are not finite are zero."""
        at = 0
        for block in self._mono:
            piece = block[max(begin - at, 0) : None if end is None else max(end - at, 0)]
            at += len(block)
            if len(piece):
                yield piece

    @functools.cached_property
    def _level(self) -> np.ndarray:
        """Greatest absolute value of any channel in each 10 ms."""
        return np.concatenate([np.zeros(0, np.float32), *self._levels])

    def _mix(self) -> Iterator[np.ndarray]:
        """Yield the mix, and measure the levels on the first pass."""
        rest = np.zeros(0, np.float32)
        for block in self._reader.blocks():
            mono = block.mean(1)
            if not self._measured:
                loudest = np.concatenate([rest, np.abs(block).max(1)])
                loudest[~np.isfinite(loudest)] = np.nan
                whole = len(loudest) // self._hop * self._hop
                self._levels.append(loudest[:whole].reshape(-1, self._hop).max(1))
                rest = loudest[whole:]
            yield np.nan_to_num(mono, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        if not self._measured:
            self._levels.append(rest.max(keepdims=True) if len(rest) else rest)
            self._measured = True


class _Level(NamedTuple):
    """How a recording is brought to a level.

    Attributes:
        gain: What it is multiplied by.
        quieter: Whether it stays quieter than the loudness asked for.
        scale: What would bring it to full scale, if it goes beyond; else 1.
    """

    gain: float
    quieter: bool
    scale: float


def _level(audio: Iterable[np.ndarray], sample_rate: int, loudness: float | None) -> _Level:
    """Measure a recording as it will be stored.

    Raises:
        DecodingError: its loudness is not defined.
    """
    if loudness is not None and sample_rate < LOWEST_RATE:
        raise DecodingError("no loudness", f"{sample_rate} Hz is less than {LOWEST_RATE} Hz")
    meter = LoudnessMeter(sample_rate) if loudness is not None else None
    peak = 0.0
    for block in audio:
        peak = max(peak, float(np.abs(block).max(initial=0)))
        if meter:
            meter.add(block)
    scale = min(1 / peak, 1.0) if peak else 1.0
    if meter is None or loudness is None:
        return _Level(scale, False, scale)
    measured = meter.loudness()
    if measured == -math.inf:
        return _Level(scale, True, scale)
    wanted, allowed = 10 ** ((loudness - measured) / 20), _CEILING / peak
    return _Level(min(wanted, allowed), wanted > allowed, scale)


def _cut(blocks: Iterable[np.ndarray], edges: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the pieces between edges of audio that comes in blocks."""
    source, held = iter(blocks), np.zeros(0, np.float32)
    for first, last in itertools.pairwise(edges):
        parts, count = [held], len(held)
        while count < last - first:
            parts.append(next(source))
            count += len(parts[-1])
        held = np.concatenate(parts)
        yield held[: last - first]
        held = held[last - first :]
