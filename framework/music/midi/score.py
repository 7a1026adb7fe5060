"""What a Standard MIDI File says: notes by track, tempos, time and key signatures, and what was not understood."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, TypeVar

import numpy as np

from framework.errors import OstinatoError
from framework.music.notes import PERCUSSION

DEFAULT_TEMPO = 500_000
"""Microseconds per quarter note until a file sets a tempo: 120 quarter notes per minute."""
DRUM_CHANNEL = 9
"""The channel, counted from 0, that General MIDI reserves for percussion."""
_NO_FRAMES = Fraction(0)
ONSET, END, PITCH, VELOCITY = range(4)
"""Columns of `MidiTrack.notes`."""


class MidiError(OstinatoError, ValueError):
    """A MIDI file cannot be read; the message names the file."""


class TempoChange(NamedTuple):
    """A tempo, in microseconds per quarter note, from a tick on."""

    tick: int
    microseconds: int


class Meter(NamedTuple):
    """A time signature from a tick on."""

    tick: int
    numerator: int
    denominator: int

    @property
    def beats(self) -> float:
        """Quarter notes per bar."""
        return 4 * self.numerator / self.denominator


class Key(NamedTuple):
    """A key signature from a tick on: its sharps (flats below 0), and whether the key is minor."""

    tick: int
    fifths: int
    minor: bool


@dataclass(frozen=True, eq=False)
class MidiTrack:
    """The notes of one channel and program of one track chunk.

    Attributes:
        notes: int64 (notes, 4): onset and end in ticks, MIDI number, velocity; in order of onset, pitch and end.
        name: The name of the track chunk; "" if it has none.
        channel: 0 to 15.
        program: General MIDI program, 0 to 127, at the onset of the notes; the kit for percussion.
        chunk: Number of the track chunk in the file.
    """

    notes: np.ndarray
    name: str = ""
    channel: int = 0
    program: int = 0
    chunk: int = 0

    @property
    def percussion(self) -> bool:
        """Whether the notes are keys of a drum kit: those of channel 10 (9 counted from 0), whatever the program."""
        return self.channel == DRUM_CHANNEL

    @property
    def instrument(self) -> int:
        """The General MIDI program, or `PERCUSSION`."""
        return PERCUSSION if self.percussion else self.program


class TempoMap:
    """Converts ticks into seconds and into beats (quarter notes).

    Args:
        changes: Tempos; the default holds before the first. Of several at one tick, the last holds.
        ticks_per_beat: The ticks per beat of files that count in beats.
        ticks_per_second: The ticks per second of files that count in SMPTE frames instead. Their tempos do not change
            the time of a tick; they only say how long a beat is.

    Attributes:
        changes: The tempos in order of time, the first at tick 0, each different from the one before.
    """

    def __init__(
        self, changes: Iterable[TempoChange] = (), ticks_per_beat: int = 480, ticks_per_second: Fraction = _NO_FRAMES
    ) -> None:
        found: list[TempoChange] = []
        for change in one_per_tick([TempoChange(0, DEFAULT_TEMPO), *changes]):
            if not found or found[-1].microseconds != change.microseconds:
                found.append(change)
        self.changes = tuple(found)
        self.ticks_per_beat, self.ticks_per_second = ticks_per_beat, ticks_per_second
        self._ticks, self._tempos = np.array(self.changes, np.int64).T
        steps = np.diff(self._ticks)
        # Seconds per tick, rounded as pretty_midi rounds them, so that notes fall on the same side of a grid.
        self._scale = 60 / (6e7 / self._tempos * (ticks_per_beat or 1))
        self._seconds = np.concatenate([[0.0], np.cumsum(steps * self._scale[:-1])])
        # Microseconds times ticks per beat: integers, so that nothing is rounded.
        self._elapsed = np.concatenate([[0], np.cumsum(steps * self._tempos[:-1])])
        self._passed = np.concatenate([[0.0], np.cumsum(steps / self._tempos[:-1])])

    def seconds(self, ticks: np.ndarray | int) -> np.ndarray:
        """Return the times of ticks in seconds, float64."""
        if self.ticks_per_second:
            return np.asarray(ticks) / float(self.ticks_per_second)
        number, since = self._places(ticks)
        return self._seconds[number] + self._scale[number] * since

    def beats(self, ticks: np.ndarray | int, steps: int = 1) -> np.ndarray:
        """Return the positions of ticks in quarter notes, or in steps of which a quarter note has several, float64."""
        if self.ticks_per_second:
            number, since = self._places(ticks)
            return (self._passed[number] + since / self._tempos[number]) * (steps * 1e6 / float(self.ticks_per_second))
        return np.asarray(ticks) * steps / self.ticks_per_beat

    def steady_beats(self, ticks: np.ndarray | int) -> np.ndarray:
        """Return the times of ticks in beats that all last as long as the first, float64.

        These are the file's own beats while its tempo does not change. After a change they are stretched or shrunk, so
        that at the first tempo everything lasts as long as in the file.
        """
        first = int(self._tempos[0])
        if self.ticks_per_second:
            return self.seconds(ticks) * 1e6 / first
        number, since = self._places(ticks)
        return (self._elapsed[number] + since * self._tempos[number]) / (first * self.ticks_per_beat)

    def _places(self, ticks: np.ndarray | int) -> tuple[np.ndarray, np.ndarray]:
        """Return the number of the tempo that holds at each tick, and the ticks since it began."""
        ticks = np.asarray(ticks, np.int64)
        number = np.searchsorted(self._ticks, ticks, "right") - 1
        return number, ticks - self._ticks[number]


@dataclass(frozen=True, eq=False)
class MidiScore:
    """The contents of a MIDI file.

    Attributes:
        tracks: Those with notes, in the order of the file.
        time: Seconds and beats of ticks.
        meters: Time signatures of all tracks in order of time, one per tick.
        keys: Key signatures likewise.
        length: Ticks to the end of the longest track.
        kind: Format of the file: 0 one track, 1 simultaneous tracks, 2 patterns, which are read one after another.
        remarks: How often something was not understood, repaired or left out, by what it is.
    """

    tracks: tuple[MidiTrack, ...]
    time: TempoMap = field(default_factory=TempoMap)
    meters: tuple[Meter, ...] = ()
    keys: tuple[Key, ...] = ()
    length: int = 0
    kind: int = 1
    remarks: Counter[str] = field(default_factory=Counter)

    @property
    def tempo(self) -> float:
        """The first tempo in quarter notes per minute."""
        return 60e6 / self.time.changes[0].microseconds

    def seconds(self, track: MidiTrack) -> np.ndarray:
        """Return the onsets and ends of a track's notes in seconds, float64 (notes, 2)."""
        return self.time.seconds(track.notes[:, :PITCH])

    def beats(self, track: MidiTrack) -> np.ndarray:
        """Return the onsets and ends of a track's notes in quarter notes, float64 (notes, 2)."""
        return self.time.beats(track.notes[:, :PITCH])


_Timed = TypeVar("_Timed", TempoChange, Meter, Key)


def one_per_tick(events: Iterable[_Timed]) -> tuple[_Timed, ...]:
    """Return events in order of time; of several at one tick the last."""
    return tuple({event.tick: event for event in sorted(events, key=lambda event: event.tick)}.values())


def described(remarks: Counter[str]) -> str:
    """Return remarks as a text: what, and how often."""
    return ", ".join(f"{what}: {count:,}" for what, count in sorted(remarks.items()))


def note_array(rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Return rows of onset, end, MIDI number and velocity as `MidiTrack.notes`, sorted."""
    notes = np.array(rows, np.int64).reshape(-1, 4)
    return notes[np.lexsort((notes[:, END], notes[:, PITCH], notes[:, ONSET]))]
