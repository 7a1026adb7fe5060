"""Converts songs to the images of the levels of whole-song generation, and back (Wang et al., 2024, section 3).

An image is float32 `(channels, time, pitch)`. Its first channels, the front, are what a level makes; behind them are
those that the levels above made, its background.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from framework.errors import InvalidValueError
from framework.music.notes import Note
from framework.music.songs import PHRASE_TYPES, Chord, Phrase, Song, key_roll, phrase_roll

FORM = 2 + PHRASE_TYPES
"""Channels of a form: tonic, scale and the kinds of phrases."""
_GAP = 4  # rows between earlier segments
HEARD = 0.15
"""What the likeliest note of a voice needs to be heard: below, it rests."""
_TONIC, _BASS = 48, 36  # the octaves in which forms and chords are heard
_ENDED = 3.0  # of the 8 notes of tonic and scale: below, the song has ended
_BEGUN = 0.6
_ANEW, _RISE = 0.9, 0.3


@dataclass(frozen=True)
class Layout(ABC):
    """The layout of a song as the image of a level.

    Args:
        title: The title of the level, as a file name.
        front: Channels that the level makes.
        channels: All channels.
        pitch: Columns.
        window: Rows of an image that is made at a time.
        unit_rows: Rows of a unit of the form, at most.
        beat_rows: Rows of a beat.
        segments: Earlier segments that are looked back at; 0 for a level that makes its song in one piece.
        segment_units: Their length in units of the form.
        token_rows: Rows of the earlier segments that become one token.
        groups: Channels of the front that belong together, in order: those of a voice, which has one note at a time;
            1 for a channel with any number. Empty where places are more than yes or no.
    """

    title: str
    front: int
    channels: int
    pitch: int
    window: int
    unit_rows: int
    beat_rows: float
    segments: int = 0
    segment_units: int = 0
    token_rows: int = 4
    groups: tuple[int, ...] = ()

    @property
    def segment_rows(self) -> int:
        """Rows of the image of all earlier segments."""
        return self.segments * self._segment_pitch

    @property
    def _segment_pitch(self) -> int:
        return self.segment_units * self.unit_rows + _GAP

    @abstractmethod
    def rows(self, song: Song) -> int:
        """Return the rows of a unit of the form."""

    @abstractmethod
    def image(self, song: Song) -> np.ndarray:
        """Return the whole song; what it does not have yet is empty."""

    @abstractmethod
    def completed(self, song: Song, front: np.ndarray) -> Song:
        """Return the song with what a front `(front, time, pitch)` says, whose values are between 0 and 1."""

    @abstractmethod
    def heard(self, front: np.ndarray) -> list[tuple[Note, ...]]:
        """Return what a front sounds like by itself, as voices whose notes are in rows."""

    def repeated(self, song: Song, begin: int, end: int) -> tuple[int, int] | None:
        """Return which rows of a song repeat earlier ones: the number of front channels, and the source row.

        None where they repeat nothing, as on all levels that do not say otherwise.
        """
        return None

    def earlier(self, image: np.ndarray, song: Song, start: int, count: int) -> np.ndarray:
        """Return the image `(channels, segment_rows, pitch)` of the earlier segments most similar to the next one.

        Args:
            image: The song, as far as it is known before `start`.
            song: Its form is what decides.
            start: Row at which the window begins.
            count: How many segments are wanted; where there are fewer, the image is -1.
        """
        rows = self.rows(song)
        seen = np.full((self.channels, self.segment_rows, self.pitch), -1, np.float32)
        units = self.window // rows
        for number, (first, last) in enumerate(
            similar_segments(song.phrases, start // rows, units, self.segment_units, count)
        ):
            begin = number * self._segment_pitch
            seen[:, begin : begin + self.segment_units * rows] = 0
            seen[:, begin : begin + (last - first) * rows] = image[:, first * rows : last * rows]
        return seen


class Form(Layout):
    """Keys and phrases, a row a unit of the form: a beat of a chorale, a measure of a song."""

    def rows(self, song: Song) -> int:
        return 1

    def image(self, song: Song) -> np.ndarray:
        return form_image(song.phrases, self.pitch)

    def completed(self, song: Song, front: np.ndarray) -> Song:
        return replace(song, phrases=form_of(front))

    def heard(self, front: np.ndarray) -> list[tuple[Note, ...]]:
        return [tonics(form_of(front))]


def similar_segments(
    phrases: Sequence[Phrase], unit: int, ahead: int, length: int, count: int
) -> list[tuple[int, int]]:
    """Return the spans (first, last unit) before a unit whose kinds of phrases have most weight in what is ahead.

    A kind's weight is the sum of its row of the form over the window (section 4.2). No span is taken twice.
    """
    roll = phrase_roll(phrases)
    weights = roll[:, unit : unit + ahead].sum(1)[roll.argmax(0)[:unit]]
    found: list[tuple[int, int]] = []
    for _ in range(count if unit else 0):
        sums = np.array([weights[first : first + length].sum() for first in range(unit)])
        best = int(sums.argmax())
        if sums[best] < 0:
            break
        weights[best : best + length] = -1
        found.append((best, min(unit, best + length)))
    return found


def window(image: np.ndarray, start: int, rows: int) -> np.ndarray:
    """Return rows of an image, empty where it has ended."""
    cut = image[:, start : start + rows]
    return np.pad(cut, ((0, 0), (0, rows - cut.shape[1]), (0, 0)))


def form_image(phrases: Sequence[Phrase], pitch: int) -> np.ndarray:
    """Return a form as `(8, units, pitch)`: the key in the first 12 columns, phrases in all."""
    kinds = phrase_roll(phrases)[..., None].repeat(pitch, 2)
    keys = np.pad(key_roll(phrases), ((0, 0), (0, 0), (0, pitch - 12)))
    return np.concatenate([keys, kinds])


def form_of(image: np.ndarray) -> tuple[Phrase, ...]:
    """Return the phrases of an image `(8, units, pitch)` with values between 0 and 1.

    The song ends where no key is left. A phrase begins where the rows rise by more than noise; its key is what most
    of its units say.

    Raises:
        ValueError: there is no song in it.
    """
    key, kinds = image[:2, :, :12], image[2:].mean(2)
    gone = np.flatnonzero(key.sum((0, 2)) < _ENDED)
    end = int(gone[0]) if len(gone) else image.shape[1]
    if not end:
        raise InvalidValueError("the form has no phrase: sample another seed, or train the level for longer")
    value, kind = kinds.sum(0), kinds.argmax(0)
    rises = (value[1:] > value[:-1] + _RISE) & (value[1:] > _BEGUN)
    # After a phrase of a single unit nothing rises, but its own row falls at once.
    left = kinds[kind[:-1], np.arange(1, len(kind))] < _RISE
    rises |= left & (kind[1:] != kind[:-1]) & (value[1:] > _ANEW)
    starts = [0, *(np.flatnonzero(rises[: end - 1]) + 1).tolist()]
    phrases = []
    for first, last in itertools.pairwise([*starts, end]):
        tonic = int(key[0, first:last].sum(0).argmax())
        scale = best_scale(key[1, first:last].sum(0))
        phrases.append(Phrase(int(kinds[:, first].argmax()), last - first, tonic, scale))
    return tuple(phrases)


def chords_of(roll: np.ndarray) -> tuple[Chord, ...]:
    """Return the chords that a roll (4, beats, 12) shows: one begins where more of it begins than goes on."""
    chords: list[Chord] = []
    for beat in range(roll.shape[1]):
        begins, goes_on, bass_begins, bass_goes_on = roll[:, beat]
        if max(bass_begins.max(), bass_goes_on.max()) < HEARD:
            continue
        bass = int(np.maximum(bass_begins, bass_goes_on).argmax())
        classes = frozenset(np.flatnonzero(np.maximum(begins, goes_on) > 0.5).tolist()) or frozenset({bass})
        before = chords[-1] if chords else Chord(0, 0, frozenset(), 0)
        held = (
            before._replace(onset=0, duration=0) == Chord(0, 0, classes, bass)
            and before.onset + before.duration == beat
        )
        if held and goes_on.sum() > begins.sum():
            chords[-1] = before._replace(duration=before.duration + 1)
        else:
            chords.append(Chord(beat, 1, classes, bass))
    return tuple(chords)


def tonics(phrases: Sequence[Phrase]) -> tuple[Note, ...]:
    """Return a form as it can be heard: the tonic of each phrase, in units."""
    starts = itertools.accumulate((phrase.units for phrase in phrases), initial=0)
    return tuple(Note(start, p.units, _TONIC + p.tonic) for start, p in zip(starts, phrases, strict=False))


def chord_notes(chords: Sequence[Chord]) -> tuple[Note, ...]:
    """Return the notes of chords, in beats: the bass below, the others above it."""
    basses = [Note(c.onset, c.duration, _BASS + c.bass) for c in chords]
    others = [Note(c.onset, c.duration, _TONIC + p) for c in chords for p in sorted(c.pitch_classes)]
    return (*basses, *others)


def best_scale(weights: np.ndarray) -> int:
    """Return the tonic of the major scale with most weight (12,)."""
    major = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])
    return int(np.argmax([weights @ np.roll(major, scale) for scale in range(12)]))


def melody_of(roll: np.ndarray, lowest: int) -> tuple[Note, ...]:
    """Return the one voice that a roll (2, time, pitches) from `lowest` up shows: the likeliest note at each place."""
    notes: list[Note] = []
    pitches = roll.max(0).argmax(1)
    for place, pitch in enumerate(pitches.tolist()):
        begins, goes_on = roll[:, place, pitch]
        if max(begins, goes_on) < HEARD:
            continue
        held = notes and notes[-1].end == place and notes[-1].midi == lowest + pitch
        if held and goes_on > begins:
            notes[-1] = Note(notes[-1].onset, notes[-1].duration + 1, notes[-1].midi)
        else:
            notes.append(Note(place, 1, lowest + pitch))
    return tuple(notes)


def polyphony_of(roll: np.ndarray, lowest: int = 0) -> tuple[Note, ...]:
    """Return the notes that a roll (2, time, pitches) from `lowest` up shows: all that are more likely than not."""
    notes: list[Note] = []
    sounding: dict[int, int] = {}
    for place in range(roll.shape[1]):
        for pitch in np.flatnonzero(roll[:, place].max(0) > 0.5).tolist():
            held = sounding.get(pitch)
            if held is not None and notes[held].end == place and roll[1, place, pitch] > roll[0, place, pitch]:
                notes[held] = Note(notes[held].onset, notes[held].duration + 1, notes[held].midi)
            else:
                sounding[pitch] = len(notes)
                notes.append(Note(place, 1, lowest + pitch))
    return tuple(notes)
