"""Tracks of a pianoroll: what they are played with, which notes they have, and what the paper measures of them."""

import itertools
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from datamodules.pianorolls import Pianorolls
from framework.data_module import DataModule, FromData
from framework.errors import InvalidValueError
from framework.music import symbolic
from framework.music.grid import Grid
from framework.music.notes import PERCUSSION, Note
from framework.traits import Trait

PROGRAMS = {
    "drums": PERCUSSION, "guitar": 25, "bass": 43, "strings": 48, "melody": 73, "bridge": 48,
    "soprano": 40, "alto": 40, "tenor": 41,
}  # fmt: skip
"""General MIDI programs of the tracks; the piano plays all others."""

_DONG = "Dong et al. (2018), section 6.1"
TRAITS = (
    Trait("empty_bars", "empty bars", f"{_DONG}, mean over tracks"),
    Trait("pitch_classes", "pitch classes a bar", f"{_DONG}, mean over tracks"),
    Trait("qualified", "qualified notes", f"{_DONG}, mean over tracks"),
    Trait("tonal_distance", "tonal distance", f"{_DONG}, mean over neighbouring tracks"),
)
"""Metrics of the pianorolls of pitched tracks."""
DRUM_TRAITS = (Trait("drum_pattern", "drum pattern", _DONG),)


def grid_from_data(data: DataModule) -> dict[str, FromData]:
    """Return the tracks, bars, steps and pitches of piano rolls, as the data have them; nothing for other data."""
    if not isinstance(data, Pianorolls):
        return {}
    return {field.name: FromData(getattr(data.grid, field.name), field.name) for field in fields(Grid)}


def grid_of(system: Any) -> Grid:
    """Return the grid of a system that has its parts as hyperparameters.

    Raises:
        ValueError: a part is not set, and the class has no data to take it from.
    """
    parts = {field.name: getattr(system, field.name) for field in fields(Grid)}
    if missing := [name for name, value in parts.items() if value is None]:
        raise InvalidValueError(
            f"{type(system).__name__} has no data that give its {missing[0]}: set `data` to piano rolls, or "
            f"--model.{missing[0]}"
        )
    return Grid(**parts)


def traits_of(tracks: Sequence[str]) -> tuple[Trait, ...]:
    """Return what is said of pianorolls of these tracks."""
    return TRAITS + (DRUM_TRAITS if any(program_of(name) == PERCUSSION for name in tracks) else ())


def described(roll: np.ndarray, grid: Grid) -> dict[str, float]:
    """Return the paper's metrics of a boolean roll (tracks, bars * steps, pitches), each the mean over its tracks.

    A track without notes has no qualified notes and no tonal distance: it is left out of those means. A metric that no
    track has is left out of the result.
    """
    values: dict[str, list[float]] = {}
    for name, value in measured(roll.reshape(len(roll), grid.bars, -1, roll.shape[-1]), grid).items():
        values.setdefault(name.partition("/")[0], []).append(value)
    known = {name: [v for v in of_tracks if np.isfinite(v)] for name, of_tracks in values.items()}
    return {name: float(np.mean(of_tracks)) for name, of_tracks in known.items() if of_tracks}


def measured(roll: np.ndarray, grid: Grid) -> dict[str, float]:
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
