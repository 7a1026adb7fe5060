"""Whole pieces of music on a grid: form, harmony and voices, and the pianorolls of each."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from framework.music.notes import Note

PHRASE_TYPES = 6
"""Kinds of phrases that a form tells apart; the last is for all others."""
_MAJOR = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])
_RELATIVE = 9  # semitones from a major tonic up to that of the minor key with the same notes


class Phrase(NamedTuple):
    """A phrase of the form.

    Attributes:
        kind: Which kind of phrase, below `PHRASE_TYPES`.
        units: Its length in units of the form.
        tonic: Pitch class of its key's tonic.
        scale: Pitch class of the major key with the same notes.
    """

    kind: int
    units: int
    tonic: int
    scale: int


class Chord(NamedTuple):
    """A chord: onset and duration in beats, its pitch classes and that of its bass."""

    onset: int
    duration: int
    pitch_classes: frozenset[int]
    bass: int


@dataclass(frozen=True)
class Song:
    """A piece on a grid.

    Args:
        name: The piece's.
        unit: Beats of a unit of the form: a measure's in pop songs, 1 in chorales.
        steps: Steps of the grid in a beat.
        phrases: The form; their units are the piece's length.
        outline: The harmony in outline.
        chords: The harmony in full, where there is more to it.
        voices: Notes of each voice by its name, onsets and durations in steps; of a `skeleton`, in beats.
    """

    name: str
    unit: int
    steps: int
    phrases: tuple[Phrase, ...]
    outline: tuple[Chord, ...] = ()
    chords: tuple[Chord, ...] = ()
    voices: Mapping[str, tuple[Note, ...]] = field(default_factory=dict)

    @property
    def units(self) -> int:
        """Length in units of the form."""
        return sum(phrase.units for phrase in self.phrases)

    @property
    def beats(self) -> int:
        """Length in beats."""
        return self.units * self.unit

    @property
    def length(self) -> int:
        """Length in steps."""
        return self.beats * self.steps

    def transposed(self, semitones: int) -> "Song":
        """Return the song, transposed by semitones."""

        def moved(pitch_class: int) -> int:
            return (pitch_class + semitones) % 12

        def all_moved(chords: tuple[Chord, ...]) -> tuple[Chord, ...]:
            classes = (frozenset(map(moved, chord.pitch_classes)) for chord in chords)
            return tuple(c._replace(pitch_classes=p, bass=moved(c.bass)) for c, p in zip(chords, classes, strict=True))

        return replace(
            self,
            phrases=tuple(p._replace(tonic=moved(p.tonic), scale=moved(p.scale)) for p in self.phrases),
            outline=all_moved(self.outline),
            chords=all_moved(self.chords),
            voices={
                name: tuple(replace(note, midi=note.midi + semitones) for note in notes)
                for name, notes in self.voices.items()
            },
        )


def phrase_roll(phrases: Sequence[Phrase]) -> np.ndarray:
    """Return the phrases as float32 (kinds, units): each falls from 1 towards 0 in the row of its kind."""
    roll = np.zeros((PHRASE_TYPES, sum(p.units for p in phrases)), np.float32)
    start = 0
    for phrase in phrases:
        roll[phrase.kind, start : start + phrase.units] = np.linspace(1, 0, phrase.units, endpoint=False)
        start += phrase.units
    return roll


def key_roll(phrases: Sequence[Phrase]) -> np.ndarray:
    """Return the keys as float32 (2, units, 12): the tonic, and the notes of the scale."""
    rows = [
        np.stack([np.eye(12)[phrase.tonic], np.roll(_MAJOR, phrase.scale)])[:, None].repeat(phrase.units, 1)
        for phrase in phrases
    ]
    return np.concatenate(rows, axis=1).astype(np.float32)


def note_roll(notes: Iterable[Note], length: int) -> np.ndarray:
    """Return notes as float32 (2, length, 128): where they begin, and where they go on."""
    roll = np.zeros((2, length, 128), np.float32)
    for note in notes:
        onset, end = int(note.onset), int(note.end)
        if 0 <= onset < length:
            roll[0, onset, note.midi] = 1
            roll[1, onset + 1 : end, note.midi] = 1
    return roll


def chord_roll(chords: Iterable[Chord], beats: int) -> np.ndarray:
    """Return chords as float32 (4, beats, 12): pitch classes that begin and go on, and the same of the bass."""
    roll = np.zeros((4, beats, 12), np.float32)
    for chord in chords:
        inside = slice(chord.onset + 1, chord.onset + chord.duration)
        for first, classes in ((0, sorted(chord.pitch_classes)), (2, [chord.bass])):
            if chord.onset < beats:
                roll[first, chord.onset, classes] = 1
                roll[first + 1, inside, classes] = 1
    return roll


def stretched(roll: np.ndarray, factor: int, onsets: bool) -> np.ndarray:
    """Return a roll `(channels, time, ...)` on a grid that is finer by a factor.

    With `onsets`, channels come in pairs of beginning and going on: what begins does so in the first of its new places
    and goes on in the others.
    """
    fine = roll.repeat(factor, axis=1)
    if onsets:
        later = np.arange(fine.shape[1]) % factor > 0
        fine[1::2, later] = np.maximum(fine[::2, later], fine[1::2, later])
        fine[::2, later] = 0
    return fine


def folded(roll: np.ndarray, lowest: int, octaves: int) -> np.ndarray:
    """Return a roll (2, time, 128) as `(2 * octaves, time, 12)`, two channels for each octave from `lowest` up."""
    cut = roll[:, :, lowest : lowest + 12 * octaves]
    return cut.reshape(2, roll.shape[1], octaves, 12).transpose(2, 0, 1, 3).reshape(2 * octaves, -1, 12)


def reduced(notes: Sequence[Note], chords: Sequence[Chord], beats: int, steps: int) -> list[Note]:
    """Return a melody's skeleton with at most one note per beat: the longest one, or the chord's if several are.

    Onsets and durations are in beats. A note that goes on into the next beat, or is struck again as the same, does so.
    """
    classes: list[frozenset[int]] = [frozenset()] * beats
    for chord in chords:
        classes[chord.onset : chord.onset + chord.duration] = [chord.pitch_classes] * chord.duration
    kept: list[Note] = []
    held: Note | None = None
    for beat in range(beats):
        begin, end = beat * steps, (beat + 1) * steps
        sounding = [note for note in notes if note.onset < end and note.end > begin]
        if not sounding:
            held = None
            continue
        best = max(
            sounding,
            key=lambda n: (min(n.end, end) - max(n.onset, begin), n.midi % 12 in classes[beat], -n.onset),
        )
        if best is held:
            kept[-1] = replace(kept[-1], duration=kept[-1].duration + 1)
        else:
            kept.append(Note(beat, 1, best.midi))
        held = best
    return kept


def estimated_key(histogram: np.ndarray, before: int | None = None) -> tuple[int, int]:
    """Return (tonic, scale) of a histogram of pitch classes (12,): the major scale that contains most of it.

    Of equal ones it is the one before, if that is among them. The tonic is that of the major or of the relative minor
    key, whichever note is heard more.
    """
    scores = np.array([histogram @ np.roll(_MAJOR, scale) for scale in range(12)])
    best = np.flatnonzero(np.isclose(scores, scores.max()))
    scale = before if before is not None and before in best else int(best[0])
    minor = (scale + _RELATIVE) % 12
    return (scale if histogram[scale] >= histogram[minor] else minor), scale


def sounding_classes(notes: Iterable[Note], begin: float, end: float) -> np.ndarray:
    """Return how long each pitch class sounds in a span (12,)."""
    histogram = np.zeros(12)
    for note in notes:
        histogram[note.midi % 12] += max(0.0, min(note.end, end) - max(note.onset, begin))
    return histogram


def phrase_keys(song_notes: Sequence[Note], lengths: Sequence[float]) -> list[tuple[int, int]]:
    """Return (tonic, scale) of consecutive phrases with these lengths, in the notes' unit of time."""
    keys: list[tuple[int, int]] = []
    edges = [0.0, *itertools.accumulate(lengths)]
    for begin, end in itertools.pairwise(edges):
        keys.append(estimated_key(sounding_classes(song_notes, begin, end), keys[-1][1] if keys else None))
    return keys
