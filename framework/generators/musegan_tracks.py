"""Tracks of a pianoroll: what they are played with, which notes they have, and what the paper measures of them."""

import itertools

import numpy as np

from datamodules.chorales import Note
from datamodules.pianorolls import Pianorolls
from datamodules.soundfont import PERCUSSION
from framework.evaluation.metrics import symbolic

PROGRAMS = {
    "drums": PERCUSSION, "guitar": 25, "bass": 43, "strings": 48, "melody": 73, "bridge": 48,
    "soprano": 40, "alto": 40, "tenor": 41,
}  # fmt: skip
"""General MIDI programs of the tracks; the piano plays all others."""


def measured(roll: np.ndarray, grid: Pianorolls) -> dict[str, float]:
    """Return the paper's metrics of a boolean roll (tracks, bars, steps, pitches), as `metric/track`."""
    found: dict[str, float] = {}
    pitched = [n for n, name in enumerate(grid.tracks) if program_of(name) != PERCUSSION]
    for number, name in enumerate(grid.tracks):
        found[f"empty_bars/{name}"] = symbolic.empty_bars(roll[number])
        if number in pitched:
            found[f"pitch_classes/{name}"] = symbolic.used_pitch_classes(roll[number])
            found[f"qualified/{name}"] = symbolic.qualified_notes(roll[number], max(2, grid.beat_steps // 8))
        else:
            found[f"drum_pattern/{name}"] = symbolic.drum_pattern(roll[number], grid.beat_steps)
    for one, other in itertools.pairwise(pitched):
        name = f"tonal_distance/{grid.tracks[one]}-{grid.tracks[other]}"
        found[name] = symbolic.tonal_distance(roll[one], roll[other], grid.beat_steps)
    return found


def notes_of(roll: np.ndarray, lowest: int) -> tuple[Note, ...]:
    """Return the notes of a boolean track (steps, pitches), in steps; what sounds on is one note."""
    padded = np.pad(roll.astype(np.int8), ((1, 1), (0, 0)))
    changes = np.diff(padded, axis=0).T
    pitches, onsets = np.nonzero(changes > 0)
    ends = np.nonzero(changes < 0)[1]
    found = [Note(int(o), int(e - o), int(p) + lowest) for p, o, e in zip(pitches, onsets, ends, strict=True)]
    return tuple(sorted(found, key=lambda note: (note.onset, note.midi)))


def program_of(track: str) -> int:
    """Return the General MIDI program that a track is heard with, `PERCUSSION` for drums."""
    return PROGRAMS.get(track, 0)
