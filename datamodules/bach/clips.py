"""A chorale as it is played and cut: clips of its mix, with stems, notes and pitch.

Nothing here needs torch, so that the processes that pack the data start quickly.
"""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile

from datamodules.bach.corpus import Chorale
from datamodules.packing.splits import draw
from framework.audio.pitch_grid import FRAME_RATE
from framework.music.notes import VOICES, Note
from framework.music.soundfont import INSTRUMENTS, Performance, render

VERSION = 3
"""Version of the packing; raise it with every change of the packed data, so that old folders are not reused."""

LICENCE = (
    "Composition: J. S. Bach, public domain. Score: corpus of music21, distributed with the encoders' permission. "
    "Sound: TimGM6mb.sf2 by Tim Brechbill (GPL-2), as found in pretty_midi, played by midirenderer."
)

_TEMPO, _VELOCITY = (63.0, 84.0), (75, 105)
_RING_OUT = 1.0  # seconds after the last note
_PEAK = 0.95
_FULL_SCALE = 32768  # of 16 bits


@dataclass(frozen=True)
class Recipe:
    """What, beside the score, determines the clips."""

    sample_rate: int
    instruments: tuple[str, ...]
    clip_seconds: float


@dataclass(frozen=True)
class Clip:
    """A named span of a piece: mix (time,), metadata, and further files by the end of their names."""

    key: str
    audio: np.ndarray
    metadata: dict[str, Any]
    members: dict[str, bytes | np.ndarray]


def clips(chorale: Chorale, split: str, recipe: Recipe) -> list[Clip]:
    """Play a chorale and cut it into clips of equal length, none longer than `recipe.clip_seconds`.

    Family, tempo and velocities are drawn from the piece's name. The mix is the exact sum of the four stems as stored;
    one factor for the whole piece brings its peak to 0.95.
    """
    family = recipe.instruments[int(draw("instruments", chorale.id) * len(recipe.instruments))]
    tempo = drawn_tempo(chorale)
    voices = [in_seconds(voice, tempo) for voice in chorale.voices]
    velocities = [round(between(*_VELOCITY, draw(f"velocity of {name}", chorale.id))) for name in VOICES]
    seconds = chorale.quarters * 60 / tempo + _RING_OUT
    performed = [Performance(*voice) for voice in zip(voices, INSTRUMENTS[family], velocities, strict=True)]
    stems = _quantise(render(performed, seconds, recipe.sample_rate))
    facts = {
        "piece": chorale.id,
        "split": split,
        "instruments": family,
        "programs": list(INSTRUMENTS[family]),
        "velocities": velocities,
        "key_signature": chorale.key,
        "tonality": chorale.tonality,
        "time_signature": chorale.time_signature,
        "tempo": tempo,
        "frame_rate": FRAME_RATE,
        "licence": LICENCE,
    }
    return [
        _clip(f"{chorale.id.replace('.', '_')}-{number:02d}", stems[:, start:end], voices, start, recipe, facts)
        for number, (start, end) in enumerate(spans(stems.shape[1], recipe.clip_seconds * recipe.sample_rate))
    ]


def drawn_tempo(chorale: Chorale) -> float:
    """Return the tempo that a piece is played at, in quarters a minute; it depends on the piece's name."""
    return round(between(*_TEMPO, draw("tempo", chorale.id)), 2)


def in_seconds(voice: Sequence[Note], tempo: float) -> list[Note]:
    """Return a voice of a score as it is performed at a tempo."""
    return [Note(n.onset * 60 / tempo, n.duration * 60 / tempo, n.midi) for n in voice]


def spans(samples: int, longest: float) -> list[tuple[int, int]]:
    """Cut some samples into spans (begin, end) of equal length, at most `longest`."""
    count = int(np.ceil(samples / longest))
    return list(itertools.pairwise(np.linspace(0, samples, count + 1).round().astype(int).tolist()))


def _clip(
    key: str, stems: np.ndarray, voices: list[list[Note]], start: int, recipe: Recipe, facts: dict[str, Any]
) -> Clip:
    begin, seconds = start / recipe.sample_rate, stems.shape[1] / recipe.sample_rate
    heard = [heard_within(voice, begin, seconds) for voice in voices]
    rows = [(number, note.onset, note.duration, note.midi) for number, voice in enumerate(heard) for note in voice]
    members: dict[str, bytes | np.ndarray] = {
        f"{name}.flac": _flac(stem, recipe.sample_rate) for name, stem in zip(VOICES, stems, strict=True)
    }
    members["f0.npy"] = f0(heard, seconds)
    members["notes.npy"] = np.array(rows, np.float32).reshape(-1, 4)
    return Clip(key, stems.sum(0) / np.float32(_FULL_SCALE), facts | {"start": begin, "seconds": seconds}, members)


def f0(voices: Sequence[Sequence[Note]], seconds: float, frame_rate: int = FRAME_RATE) -> np.ndarray:
    """Return the pitch of each voice, float32 (voices, frames) in Hz at `frame_rate`; 0 is a rest."""
    pitch = np.zeros((len(voices), int(np.ceil(seconds * frame_rate))), np.float32)
    for row, voice in zip(pitch, voices, strict=True):
        for note in voice:
            first, last = np.ceil(np.array([note.onset, note.onset + note.duration]) * frame_rate).astype(int)
            row[first:last] = 440 * 2 ** ((note.midi - 69) / 12)
    return pitch


def heard_within(voice: Sequence[Note], begin: float, seconds: float) -> list[Note]:
    """Return the parts of a voice's notes that lie in a span, in the span's own time."""
    heard = []
    for note in voice:
        onset, end = max(note.onset - begin, 0), min(note.end - begin, seconds)
        if end > 0 and onset < seconds:
            heard.append(Note(onset, end - onset, note.midi))
    return heard


def _quantise(stems: np.ndarray) -> np.ndarray:
    """Scale stems to a common peak and round them to 16 bits, int32 (voices, time), so that sums are exact."""
    loudest = max(np.abs(stems).max(), np.abs(stems.sum(0)).max())
    return np.round(stems * (_PEAK * _FULL_SCALE / loudest)).astype(np.int32)


def _flac(samples: np.ndarray, sample_rate: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples.astype(np.int16), sample_rate, format="FLAC", subtype="PCM_16")
    return buffer.getvalue()


def between(low: float, high: float, fraction: float) -> float:
    """Return what lies at a fraction of the way from `low` to `high`."""
    return low + (high - low) * fraction
