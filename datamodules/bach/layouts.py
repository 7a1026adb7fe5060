"""The four levels at which a chorale is made: form, harmony and soprano in outline, outer voices, all four voices.

Pianorolls are folded, an octave behind the other: images are 12 columns wide, a pitch class each, so that a small
network sees a harmony at a glance.
"""

import bisect
import itertools
from dataclasses import replace

import numpy as np

from datamodules.bach.songs import OCTAVES, RANGES, STEPS
from framework.music.layouts import FORM, Form, Layout, chord_notes, chords_of, form_image, melody_of
from framework.music.notes import Note
from framework.music.songs import PHRASE_TYPES, Song, chord_roll, folded, note_roll, stretched

_VOICE = 2 * OCTAVES
_SKELETON = _VOICE + 4


class ChoraleSkeleton(Layout):
    """The soprano's skeleton and the harmony's outline, a row a beat."""

    def rows(self, song: Song) -> int:
        return 1

    def image(self, song: Song) -> np.ndarray:
        return np.concatenate([skeleton(song), form_image(song.phrases, 12)])

    def repeated(self, song: Song, begin: int, end: int) -> tuple[int, int] | None:
        """Return the melody of the first phrase of the same kind and length: that is what a kind means."""
        starts = [0, *itertools.accumulate(phrase.units for phrase in song.phrases)]
        number = bisect.bisect_right(starts, begin) - 1
        phrase = song.phrases[number]
        if phrase.kind == PHRASE_TYPES - 1:
            return None
        alike = [(p.kind, p.units) == (phrase.kind, phrase.units) for p in song.phrases[:number]]
        return (_VOICE, starts[alike.index(True)] + begin - starts[number]) if any(alike) else None

    def completed(self, song: Song, front: np.ndarray) -> Song:
        notes = melody_of(unfolded(front[:_VOICE]), RANGES["soprano"])
        return replace(song, outline=chords_of(front[_VOICE:]), voices=dict(song.voices) | {"skeleton": notes})

    def heard(self, front: np.ndarray) -> list[tuple[Note, ...]]:
        song = self.completed(Song("", 1, STEPS, ()), front)
        return [song.voices["skeleton"], chord_notes(song.outline)]


class ChoraleVoices(Layout):
    """Two of the voices, a row a step; those of the level above, if there are some, and the skeleton behind."""

    made: tuple[str, ...] = ()
    given: tuple[str, ...] = ()

    def rows(self, song: Song) -> int:
        return STEPS

    def image(self, song: Song) -> np.ndarray:
        voices = [voice(song, name) for name in (*self.made, *self.given)]
        behind = stretched(skeleton(song), STEPS, onsets=True), stretched(form_image(song.phrases, 12), STEPS, False)
        return np.concatenate([*voices, *behind])

    def completed(self, song: Song, front: np.ndarray) -> Song:
        parts = np.split(front, len(self.made))
        made = {n: melody_of(unfolded(p), RANGES[n]) for n, p in zip(self.made, parts, strict=True)}
        return replace(song, voices=dict(song.voices) | made)

    def heard(self, front: np.ndarray) -> list[tuple[Note, ...]]:
        return list(self.completed(Song("", 1, STEPS, ()), front).voices.values())


class OuterVoices(ChoraleVoices):
    """Soprano and bass."""

    made = ("soprano", "bass")


class InnerVoices(ChoraleVoices):
    """Alto and tenor between the outer voices."""

    made = ("alto", "tenor")
    given = ("soprano", "bass")


CHORALE_FORM = Form("form", FORM, FORM, 12, window=128, unit_rows=1, beat_rows=1)
CHORALE_SKELETON = ChoraleSkeleton(
    "skeleton",
    _SKELETON,
    _SKELETON + FORM,
    12,
    window=32,
    unit_rows=1,
    beat_rows=1,
    segments=2,
    segment_units=8,
    groups=(_VOICE, 1, 1, 2),
)
CHORALE_OUTER = OuterVoices(
    "outer",
    2 * _VOICE,
    2 * _VOICE + _SKELETON + FORM,
    12,
    window=64,
    unit_rows=2,
    beat_rows=STEPS,
    segments=2,
    segment_units=8,
    groups=(_VOICE, _VOICE),
)
CHORALE_INNER = InnerVoices(
    "voices",
    2 * _VOICE,
    4 * _VOICE + _SKELETON + FORM,
    12,
    window=64,
    unit_rows=2,
    beat_rows=STEPS,
    segments=2,
    segment_units=8,
    groups=(_VOICE, _VOICE),
)


def voice(song: Song, name: str) -> np.ndarray:
    """Return a voice as `(6, steps, 12)`; empty, if the song does not have it yet."""
    return folded(note_roll(song.voices.get(name, ()), song.length), RANGES[name], OCTAVES)


def skeleton(song: Song) -> np.ndarray:
    """Return skeleton and outline as `(10, beats, 12)`: pairs of channels for what begins and what goes on."""
    melody = folded(note_roll(song.voices.get("skeleton", ()), song.beats), RANGES["soprano"], OCTAVES)
    return np.concatenate([melody, chord_roll(song.outline, song.beats)])


def unfolded(front: np.ndarray) -> np.ndarray:
    """Return a folded voice `(2 * octaves, time, 12)` as a roll (2, time, pitches)."""
    octaves = front.reshape(-1, 2, *front.shape[1:])
    return octaves.transpose(1, 2, 0, 3).reshape(2, front.shape[1], -1)
