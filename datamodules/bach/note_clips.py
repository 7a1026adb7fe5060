"""Single notes of one instrument, as clips.

Nothing here needs torch, so that the processes that pack the data start quickly.
"""

from dataclasses import dataclass

import numpy as np

from datamodules.bach.clips import Clip, f0
from datamodules.packing.splits import SPLITS, draw
from framework.audio.pitch_grid import FRAME_RATE
from framework.music.notes import PERCUSSION, Note
from framework.music.soundfont import SOLOS, Performance, Solo, render

VERSION = 1
"""Version of the packing; raise it with every change of the packed data, so that old folders are not reused."""

PLAYERS = SOLOS | {"drums": Solo(PERCUSSION, 35, 81)}
"""What can play notes, by name; the drums' notes are their keys in General MIDI and have no pitch."""

_HELD = 0.75  # of a note's length, then it is released
_GAP = 0.6  # seconds in which a note rings out that nobody hears, before the next one
_FADE = 0.01  # seconds
_PEAK = 0.95
_SILENCE = 1e-3  # peak, -60 dB


@dataclass(frozen=True)
class NoteRecipe:
    """What, beside the sounds, determines the clips."""

    sample_rate: int
    instruments: tuple[str, ...]
    velocities: tuple[int, ...]
    seconds: float


def note_clips(number: int, recipe: NoteRecipe) -> list[Clip]:
    """Play every note of one of the recipe's instruments at every velocity.

    One factor for all notes of the instrument brings their peak to 0.95, so that softer ones stay softer. Keys that
    have no sound are left out.
    """
    name = recipe.instruments[number]
    solo = PLAYERS[name]
    keys = list(range(solo.lowest, solo.highest + 1))
    slot = recipe.seconds + _GAP
    held = [Note(slot * place, _HELD * recipe.seconds, key) for place, key in enumerate(keys)]
    voices = [Performance(held, solo.program, velocity) for velocity in recipe.velocities]
    played = render(voices, slot * len(keys), recipe.sample_rate)
    played *= _PEAK / max(float(np.abs(played).max()), _SILENCE)
    splits = held_out(name, keys)
    samples = round(recipe.seconds * recipe.sample_rate)
    fade = np.ones(samples, np.float32)
    fade[-round(_FADE * recipe.sample_rate) :] = np.linspace(1, 0, round(_FADE * recipe.sample_rate))
    sung = f0([[Note(0.0, held[0].duration, 0)]], recipe.seconds)[0] > 0
    made = []
    for voice, velocity in zip(played, recipe.velocities, strict=True):
        for place, key in enumerate(keys):
            audio = voice[round(place * slot * recipe.sample_rate) :][:samples] * fade
            if np.abs(audio).max() < _SILENCE:
                continue
            facts = {"split": splits[key], "instrument": number, "instrument_name": name, "pitch": key}
            facts |= {"velocity": velocity, "frame_rate": FRAME_RATE}
            pitched = solo.program != PERCUSSION
            pitch = (sung * pitched * 440 * 2 ** ((key - 69) / 12)).astype(np.float32)
            made.append(Clip(f"{name}-{key:03d}-{velocity:03d}", audio, facts, {"f0.npy": pitch}))
    return made


def held_out(instrument: str, keys: list[int]) -> dict[int, str]:
    """Return the split of each key, for all its velocities: a tenth, at least one, is for validation and test each."""
    drawn = sorted(keys, key=lambda key: draw(f"split of {instrument}", str(key)))
    share = {split: max(1, round(part * len(keys))) for split, part in SPLITS.items() if split != "train"}
    splits = dict.fromkeys(keys, "train")
    for split, count in share.items():
        splits |= dict.fromkeys(drawn[:count], split)
        drawn = drawn[count:]
    return splits
