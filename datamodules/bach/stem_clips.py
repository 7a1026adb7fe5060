"""The voices of a chorale, each played alone by one instrument and cut into clips with its exact pitch.

Nothing here needs torch, so that the processes that pack the data start quickly.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from datamodules.bach.clips import Clip, between, drawn_tempo, f0, heard_within, in_seconds, spans
from datamodules.bach.corpus import Chorale
from datamodules.packing.splits import draw
from framework.music.notes import VOICES, Note
from framework.music.soundfont import SOLOS, Performance, Solo, render

VERSION = 1
"""Version of the packing; raise it with every change of the packed data, so that old folders are not reused."""

FRAME_RATE = 250
"""Values of f0 per second."""

_VELOCITY = (60, 115)
_LONGEST_REST, _RING_OUT = 0.5, 0.5  # seconds
_PEAK = 0.95
_SILENCE = 1e-3  # peak, -60 dB


@dataclass(frozen=True)
class StemRecipe:
    """What, beside the score, determines the clips."""

    sample_rate: int
    instruments: tuple[str, ...]
    clip_seconds: float


def stem_clips(chorale: Chorale, split: str, recipe: StemRecipe) -> list[Clip]:
    """Play each voice of a chorale alone and cut it into clips of equal length, at most `recipe.clip_seconds`.

    Instruments, tempo and velocities are drawn from the piece's name. A voice is moved by octaves into its instrument's
    range, and left out if it does not fit; rests are shortened to half a second. One factor for the whole piece brings
    its peak to 0.95, so that what was played softly stays softer.
    """
    tempo = drawn_tempo(chorale)
    stems = [_stem(chorale, number, tempo, recipe) for number in range(len(VOICES))]
    fitting = [stem for stem in stems if stem is not None]
    if not fitting:
        return []
    lengths = [stem.notes[-1].end + _RING_OUT for stem in fitting]
    played = render(
        [Performance(s.notes, s.solo.program, s.velocity) for s in fitting], max(lengths), recipe.sample_rate
    )
    played *= _PEAK / max(float(np.abs(played).max()), _SILENCE)
    made: list[Clip] = []
    for stem, audio, seconds in zip(fitting, played, lengths, strict=True):
        facts: dict[str, Any] = {
            "piece": chorale.id,
            "split": split,
            "voice": VOICES[stem.voice],
            "instrument": stem.instrument,
            "instrument_name": recipe.instruments[stem.instrument],
            "velocity": stem.velocity,
            "octaves": stem.octaves,
            "tempo": tempo,
            "frame_rate": FRAME_RATE,
        }
        name = f"{chorale.id.replace('.', '_')}-{VOICES[stem.voice]}"
        made += _cut(name, audio[: round(seconds * recipe.sample_rate)], stem.notes, recipe, facts)
    return made


@dataclass(frozen=True)
class _Stem:
    """A voice as one instrument plays it: notes in seconds, and how far it was moved."""

    voice: int
    instrument: int
    solo: Solo
    notes: list[Note]
    octaves: int
    velocity: int


def _stem(chorale: Chorale, number: int, tempo: float, recipe: StemRecipe) -> _Stem | None:
    voice = chorale.voices[number]
    instrument = int(draw(f"instrument of {VOICES[number]}", chorale.id) * len(recipe.instruments))
    solo = SOLOS[recipe.instruments[instrument]]
    octaves = _octaves(voice, solo)
    if octaves is None:
        return None
    notes = [Note(note.onset, note.duration, note.midi + 12 * octaves) for note in _joined(in_seconds(voice, tempo))]
    velocity = round(between(*_VELOCITY, draw(f"velocity of stem {VOICES[number]}", chorale.id)))
    return _Stem(number, instrument, solo, notes, octaves, velocity)


def _octaves(voice: Sequence[Note], solo: Solo) -> int | None:
    """Return by how many octaves a voice is to be moved into an instrument's range, as few as possible."""
    lowest, highest = min(note.midi for note in voice), max(note.midi for note in voice)
    return next(
        (k for k in (0, 1, -1, 2, -2, 3, -3) if solo.lowest <= lowest + 12 * k and highest + 12 * k <= solo.highest),
        None,
    )


def _joined(notes: Sequence[Note]) -> list[Note]:
    """Shorten long rests, and begin without one."""
    joined: list[Note] = []
    end, shift = 0.0, 0.0
    for note in notes:
        allowed = _LONGEST_REST if joined else 0.0
        shift += max(note.onset - end - allowed, 0.0)
        joined.append(Note(note.onset - shift, note.duration, note.midi))
        end = note.end
    return joined


def _cut(name: str, audio: np.ndarray, notes: Sequence[Note], recipe: StemRecipe, facts: dict[str, Any]) -> list[Clip]:
    made = []
    for number, (first, last) in enumerate(spans(len(audio), recipe.clip_seconds * recipe.sample_rate)):
        if np.abs(audio[first:last]).max() < _SILENCE:
            continue
        begin, seconds = first / recipe.sample_rate, (last - first) / recipe.sample_rate
        pitch = f0([heard_within(notes, begin, seconds)], seconds, FRAME_RATE)[0]
        told = facts | {"start": begin, "seconds": seconds}
        made.append(Clip(f"{name}-{number:02d}", audio[first:last], told, {"f0.npy": pitch}))
    return made
