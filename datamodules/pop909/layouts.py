"""The four levels of the paper: form, counterpoint, lead sheet, accompaniment (Wang et al., 2024, section 3).

Pianorolls have 128 columns; chords lie in the rows below the melodies, the bass's pitch class from 24 on, those of the
chord from 36 on.
"""

from dataclasses import replace

import numpy as np

from datamodules.pop909.songs import STEPS
from framework.music.layouts import FORM, Form, Layout, chord_notes, chords_of, form_image, melody_of, polyphony_of
from framework.music.notes import Note
from framework.music.songs import Chord, Song, chord_roll, note_roll, stretched

PITCHES = 128
_BASS, _CHORD, _MELODY = 24, 36, 48


class Counterpoint(Layout):
    """The melody's skeleton and the chords in outline, a row a beat: the reduced lead sheet."""

    def rows(self, song: Song) -> int:
        return song.unit

    def image(self, song: Song) -> np.ndarray:
        return np.concatenate([counterpoint(song), stretched(form(song), song.unit, onsets=False)])

    def completed(self, song: Song, front: np.ndarray) -> Song:
        melody, outline = split_roll(front, 1)
        return replace(song, outline=outline, voices=dict(song.voices) | {"skeleton": melody})

    def heard(self, front: np.ndarray) -> list[tuple[Note, ...]]:
        melody, outline = split_roll(front, 1)
        return [melody, chord_notes(outline)]


class LeadSheet(Layout):
    """Melody and chords, a row a sixteenth."""

    def rows(self, song: Song) -> int:
        return song.unit * song.steps

    def image(self, song: Song) -> np.ndarray:
        return np.concatenate([lead_sheet(song), behind(song)])

    def completed(self, song: Song, front: np.ndarray) -> Song:
        melody, chords = split_roll(front, song.steps)
        return replace(song, chords=chords, voices=dict(song.voices) | {"melody": melody})

    def heard(self, front: np.ndarray) -> list[tuple[Note, ...]]:
        melody, chords = split_roll(front, STEPS)
        slow = tuple(Note(n.onset * STEPS, n.duration * STEPS, n.midi) for n in chord_notes(chords))
        return [melody, slow]


class Accompaniment(Layout):
    """The piano, a row a sixteenth."""

    def rows(self, song: Song) -> int:
        return song.unit * song.steps

    def image(self, song: Song) -> np.ndarray:
        piano = note_roll(song.voices.get("piano", ()), song.length)
        return np.concatenate([piano, lead_sheet(song), behind(song)])

    def completed(self, song: Song, front: np.ndarray) -> Song:
        return replace(song, voices=dict(song.voices) | {"piano": polyphony_of(front)})

    def heard(self, front: np.ndarray) -> list[tuple[Note, ...]]:
        return [polyphony_of(front)]


SONG_FORM = Form("form", FORM, FORM, 16, window=256, unit_rows=1, beat_rows=0.25)
COUNTERPOINT = Counterpoint(
    "counterpoint", 2, 2 + FORM, PITCHES, window=128, unit_rows=4, beat_rows=1, segments=3, segment_units=8
)
LEAD_SHEET = LeadSheet(
    "lead_sheet", 2, 4 + FORM, PITCHES, window=128, unit_rows=16, beat_rows=STEPS, segments=2, segment_units=4,
    token_rows=8,
)  # fmt: skip
ACCOMPANIMENT = Accompaniment(
    "accompaniment", 2, 6 + FORM, PITCHES, window=128, unit_rows=16, beat_rows=STEPS, segments=2, segment_units=4,
    token_rows=8,
)  # fmt: skip


def form(song: Song) -> np.ndarray:
    """Return the form as `(8, units, 128)`, the key in every octave."""
    image = form_image(song.phrases, PITCHES)
    image[:2] = np.tile(image[:2, :, :12], (1, 1, 11))[:, :, :PITCHES]
    return image


def with_chords(roll: np.ndarray, chords: tuple[Chord, ...], beats: int, steps: int) -> np.ndarray:
    """Return a melody's roll (2, time, 128) with chords in the rows below it."""
    harmony = stretched(chord_roll(chords, beats), steps, onsets=True)
    roll[:, :, _CHORD:_MELODY] = harmony[:2]
    roll[:, :, _BASS:_CHORD] = harmony[2:]
    return roll


def counterpoint(song: Song) -> np.ndarray:
    """Return skeleton and outline as (2, beats, 128)."""
    return with_chords(note_roll(song.voices.get("skeleton", ()), song.beats), song.outline, song.beats, 1)


def lead_sheet(song: Song) -> np.ndarray:
    """Return melody and chords as (2, steps, 128)."""
    return with_chords(note_roll(song.voices.get("melody", ()), song.length), song.chords, song.beats, song.steps)


def behind(song: Song) -> np.ndarray:
    """Return counterpoint and form as (10, steps, 128)."""
    outline = stretched(counterpoint(song), song.steps, onsets=True)
    return np.concatenate([outline, stretched(form(song), song.unit * song.steps, onsets=False)])


def split_roll(front: np.ndarray, steps: int) -> tuple[tuple[Note, ...], tuple[Chord, ...]]:
    """Return the melody, notes in rows, and the chords, in beats of `steps` rows, of a roll (2, time, 128)."""
    beats = front[:, ::steps]
    chords = np.concatenate([beats[:, :, _CHORD:_MELODY], beats[:, :, _BASS:_CHORD]])
    return melody_of(front[:, :, _MELODY:], _MELODY), chords_of(chords)
