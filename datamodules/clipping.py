"""Recordings cut into clips: decoded piece by piece, resampled, mixed to mono, written into one shard."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import soundfile

from datamodules.index import BadClipError
from datamodules.loudness import LOWEST_RATE, LoudnessMeter
from datamodules.recordings import Job, Recording, Skipped
from datamodules.shards import ShardWriter
from framework.audio.pitch_grid import FRAME_RATE
from framework.audio.resample import resample, resampled_length, source_window

_SHORTEST = 0.01  # seconds
_SILENCE = 1e-4  # peak, -80 dB
_BLOCK = 1 << 20  # samples
_CEILING = 10 ** (-1 / 20)  # peak after a change of loudness, -1 dB: room for resampling (EBU R 128, maximum peak)


class Treatment(NamedTuple):
    """What is done to recordings.

    Attributes:
        sample_rate: Hz of the clips; None keeps each file's own.
        format: Of the clips.
        clip_seconds: Greatest length; longer files are cut into clips of equal length.
        trim: Level in dB below the file's peak, under which its begin and end count as silence and are cut off.
        loudness: LUFS that each file as a whole is brought to, as far as its peaks allow; None leaves it.
        f0: Whether the pitch of each clip is tracked.
    """

    sample_rate: int | None
    format: Literal["wav", "flac"]
    clip_seconds: float
    trim: float | None
    loudness: float | None
    f0: bool = False


class Packed(NamedTuple):
    """What could not be used, and the names of files that stay quieter than the loudness asked for."""

    skipped: list[Skipped]
    quieter: list[str]


def pack_shard(folder: Path, job: Job, treatment: Treatment) -> Packed:
    """Write one shard and return what is to be known of it; there is no shard if nothing could be used."""
    skipped: list[Skipped] = []
    quieter: list[str] = []
    with ShardWriter(folder, job.split, format=treatment.format, first=job.number, shard_bytes=1 << 62) as writer:
        for key, recording in job.recordings:
            for number, clip in enumerate(_readable(recording, treatment)):
                if isinstance(clip, Skipped):
                    skipped.append(clip)
                    continue
                facts = {"source": recording.name, "start": clip.start, "source_rate": clip.source_rate}
                members: dict[str, bytes | np.ndarray] = {}
                if treatment.f0:
                    facts["frame_rate"] = FRAME_RATE
                    members["f0.npy"] = _pitch(clip)
                if clip.quieter and recording.name not in quieter[-1:]:
                    quieter.append(recording.name)
                name = key if clip.whole else f"{key}-{number:04d}"
                writer.write(name, clip.audio, clip.sample_rate, facts, members)
    return Packed(skipped, quieter)


class _Clip(NamedTuple):
    audio: np.ndarray
    sample_rate: int
    start: float
    source_rate: int
    whole: bool
    quieter: bool


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
        for clip in _clips(recording.path, treatment):
            yield Skipped(recording.name, str(clip)) if isinstance(clip, BadClipError) else clip
    except (BadClipError, OSError, soundfile.SoundFileError, RuntimeError) as error:
        yield Skipped(recording.name, _reason(recording, error))


def _clips(path: Path, treatment: Treatment) -> Iterator[_Clip | BadClipError]:
    """Yield a file's clips, reading no more than one at a time; a bad one is yielded as its error."""
    if path.stat().st_size == 0:
        raise BadClipError("empty", "the file has no bytes")
    with soundfile.SoundFile(path) as file:
        begin, end = _extent(file, treatment.trim)
        rate = treatment.sample_rate or file.samplerate
        if end - begin < _SHORTEST * file.samplerate:
            raise BadClipError("empty" if end <= begin else f"shorter than {_SHORTEST * 1000:.0f} ms")
        gain, quieter = _gain(file, begin, end, treatment.loudness)
        total = resampled_length(end - begin, file.samplerate, rate)
        count = math.ceil(total / (treatment.clip_seconds * rate))
        edges = np.linspace(0, total, count + 1).round().astype(int).tolist()
        for first, last in itertools.pairwise(edges):
            where = f"{first / rate:.1f} to {last / rate:.1f} s" if count > 1 else "the file"
            window_begin, window_end, skip = source_window(first, last - first, end - begin, file.samplerate, rate)
            source = _mono(file, begin + window_begin, window_end - window_begin)
            if not np.isfinite(source).all():
                yield BadClipError("not finite", f"{where} has samples that are NaN or infinite")
                continue
            audio = gain * resample(source, file.samplerate, rate)[skip:][: last - first]
            peak = float(np.abs(audio).max())
            if peak < _SILENCE * gain:
                yield BadClipError("silent", where)
                continue
            audio = audio / max(peak, 1.0)  # float files and resampling may go beyond full scale
            yield _Clip(audio, rate, begin / file.samplerate + first / rate, file.samplerate, count == 1, quieter)


def _extent(file: soundfile.SoundFile, trim: float | None) -> tuple[int, int]:
    """Return where a file's sound begins and ends, in samples."""
    if trim is None and file.frames < 1 << 48:
        return 0, file.frames
    hop = max(file.samplerate // 100, 1)
    levels, samples = [np.zeros(0)], 0
    file.seek(0)
    while len(block := np.abs(file.read(_BLOCK // hop * hop, dtype="float32", always_2d=True)).max(1, initial=0)):
        samples += len(block)
        block = np.nan_to_num(block, posinf=0.0)  # the clip with such a sample is left out, not the whole file
        levels.append(np.pad(block, (0, -len(block) % hop)).reshape(-1, hop).max(1))
    level = np.concatenate(levels)
    if trim is None:  # the header does not know the length
        return 0, samples
    heard = np.flatnonzero(level > level.max(initial=0) * 10 ** (-trim / 20))
    return (int(heard[0]) * hop, min(int(heard[-1] + 1) * hop, samples)) if len(heard) else (0, 0)


def _gain(file: soundfile.SoundFile, begin: int, end: int, loudness: float | None) -> tuple[float, bool]:
    """Return the factor that brings a stretch of a file to a loudness, and whether it falls short of that."""
    if loudness is None:
        return 1.0, False
    if file.samplerate < LOWEST_RATE:
        raise BadClipError("no loudness", f"{file.samplerate} Hz is less than {LOWEST_RATE} Hz")
    meter = LoudnessMeter(file.samplerate)
    for start in range(begin, end, _BLOCK):
        try:
            meter.add(np.nan_to_num(_mono(file, start, min(_BLOCK, end - start)), posinf=0.0, neginf=0.0))
        except BadClipError:  # what comes before the damage is kept
            break
    measured = meter.loudness()
    if measured == -math.inf:
        return 1.0, True
    wanted, allowed = 10 ** ((loudness - measured) / 20), _CEILING / meter.peak
    return min(wanted, allowed), wanted > allowed


def _mono(file: soundfile.SoundFile, start: int, count: int) -> np.ndarray:
    file.seek(start)
    audio = file.read(count, dtype="float32", always_2d=True)
    if len(audio) < count:
        at = (start + len(audio)) / file.samplerate
        raise BadClipError("undecodable", f"the file breaks off or is damaged at {at:.1f} s; what comes before is kept")
    return audio.mean(1)


def _reason(recording: Recording, error: Exception) -> str:
    return str(error).replace(f"{str(recording.path)!r}", "it").replace("Error opening it: ", "")
