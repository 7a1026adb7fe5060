"""Pairs the note-ons and note-offs of a MIDI track."""

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from framework.music.midi.score import note_array

NoteOff = Literal["oldest", "all"]


class _Key:
    """What happened on a key since it was last at rest.

    Attributes:
        struck: Its notes, by number.
        released: Ticks of its note-offs.
        held: Notes that began before the tick `now` and that no note-off has come for.
        fresh: Such notes that began at the tick `now`.
        now: Tick of the newest event.
    """

    __slots__ = ("fresh", "held", "now", "released", "struck")

    def __init__(self) -> None:
        self.struck: list[int] = []
        self.released: list[int] = []
        self.held: list[int] = []
        self.fresh: list[int] = []
        self.now = -1

    def advance(self, now: int) -> None:
        """Go on to a tick."""
        if self.now != now:
            self.held += self.fresh
            self.fresh, self.now = [], now

    @property
    def sounding(self) -> list[int]:
        """The notes that no note-off has come for."""
        return self.held + self.fresh


class NotePairing:
    """Notes of a track chunk, out of events in order of time. Every note-on becomes a note.

    A note-off ends the oldest note that sounds on its key and channel, if possible one that began at an earlier tick.
    Where there are fewer note-offs than notes, those that none is left for end where their key is next struck or
    released, or else with the track.

    Args:
        note_off: "all" lets a note-off end all notes of its key that began at an earlier tick, as pretty_midi does.

    Attributes:
        strays: Note-offs of keys that did not sound.
        endless: Notes that still sounded at the end of the track.
    """

    def __init__(self, note_off: NoteOff = "oldest") -> None:
        self.note_off = note_off
        self.strays = self.endless = 0
        self._onsets, self._ends = array("q"), array("q")
        self._pitches, self._velocities, self._voices = array("B"), array("B"), array("H")
        # Channels and programs in the order in which their first notes end.
        self._order: dict[int, None] = {}
        self._sounding: list[dict[int, _Key]] = [{} for _ in range(16)]

    def strike(self, now: int, channel: int, pitch: int, velocity: int, program: int) -> None:
        """Begin a note."""
        note = len(self._onsets)
        self._onsets.append(now)
        self._ends.append(now)
        self._pitches.append(pitch)
        self._velocities.append(velocity)
        self._voices.append(channel << 7 | program)
        key = self._sounding[channel].get(pitch)
        if key is None:
            key = self._sounding[channel][pitch] = _Key()
        key.advance(now)
        key.struck.append(note)
        key.fresh.append(note)

    def release(self, now: int, channel: int, pitch: int) -> None:
        """End a note, or all notes of a key."""
        key = self._sounding[channel].get(pitch)
        if key is None:
            self.strays += 1
            return
        key.advance(now)
        ended = key.held or key.fresh
        if self.note_off == "all":
            self._end((note, now) for note in ended)
            ended.clear()
            key.struck = key.sounding
        else:
            ended.pop()
            key.released.append(now)
        if not key.held and not key.fresh:
            del self._sounding[channel][pitch]
            self._settle(key, now)

    def silence(self, now: int, channel: int) -> None:
        """End all notes of a channel."""
        for key in self._sounding[channel].values():
            self._settle(key, now)
        self._sounding[channel].clear()

    def finish(self, now: int) -> None:
        """End all notes with the track."""
        self.endless += sum(len(key.sounding) for keys in self._sounding for key in keys.values())
        for channel in range(len(self._sounding)):
            self.silence(now, channel)

    def groups(self) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """Yield (channel, program) and its notes as `MidiTrack.notes`."""
        columns = (self._onsets, self._ends, self._pitches, self._velocities)
        notes = np.stack([np.array(column, np.int64) for column in columns], 1)
        voices = np.array(self._voices)
        for voice in self._order:
            yield (voice >> 7, voice & 0x7F), note_array(notes[voices == voice])

    def _settle(self, key: _Key, now: int) -> None:
        """Set the ends of a key's notes, of which those that still sound end now at the latest."""
        if not key.held and not key.fresh:
            self._end(zip(key.struck, key.released, strict=True))
            return
        unpaired = set(key.sounding)
        self._end(zip((note for note in key.struck if note not in unpaired), key.released, strict=True))
        times = sorted({*key.released, *(self._onsets[note] for note in key.struck)})
        for note in sorted(unpaired):
            following = bisect_right(times, self._onsets[note])
            self._end([(note, times[following] if following < len(times) else now)])

    def _end(self, notes: Iterable[tuple[int, int]]) -> None:
        """Set the ends of notes, given as (number, tick)."""
        for note, tick in notes:
            self._ends[note] = tick
            self._order.setdefault(self._voices[note])
