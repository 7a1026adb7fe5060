"""Scores as Standard MIDI Files."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

import mido

from framework.errors import InvalidValueError
from framework.music.midi.score import MidiScore, MidiTrack

_MAJOR = ("Cb", "Gb", "Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#", "C#")
_MINOR = ("Abm", "Ebm", "Bbm", "Fm", "Cm", "Gm", "Dm", "Am", "Em", "Bm", "F#m", "C#m", "G#m", "D#m", "A#m")
_SIGNATURE, _OFF, _STROKE, _ON = range(4)

_LONGEST_DELTA = (1 << 28) - 1
"""The largest number of variable length."""

Message: TypeAlias = mido.Message | mido.MetaMessage
Timed: TypeAlias = tuple[int, int, Message]
"""An event: tick, its rank among the events of the tick, message."""


def write_score(path: Path, score: MidiScore) -> None:
    """Write a score as a MIDI file of format 1: a chunk for each track, with tempos and signatures in the first.

    `read_score` reads it back as it is, unless a note of a track lies inside another one of the same pitch: note-offs
    do not say which of the two they end.

    Raises:
        InvalidValueError: the score counts in SMPTE frames, or a note is not one of MIDI.
        OSError: the file cannot be written.
    """
    if score.time.ticks_per_second:
        raise InvalidValueError(f"{path}: a score in SMPTE frames cannot be written; give it ticks per beat")
    file = mido.MidiFile(ticks_per_beat=score.time.ticks_per_beat, charset="utf-8")
    for track in score.tracks:
        events = [*_signatures(score), *_notes(track, path)] if not file.tracks else [*_notes(track, path)]
        file.tracks.append(track_chunk(_head(track), events, score.length))
    if not file.tracks:
        file.tracks.append(track_chunk([], [*_signatures(score)], score.length))
    file.save(path)


def track_chunk(head: Iterable[Message], events: Iterable[Timed], length: int) -> mido.MidiTrack:
    """Return a track chunk.

    Args:
        head: Messages at its beginning.
        events: Messages with their ticks.
        length: Tick at which the chunk ends, if no event comes later.
    """
    chunk, now = mido.MidiTrack(head), 0
    ordered = sorted(events, key=lambda event: event[:2])
    end = max(length, ordered[-1][0] if ordered else 0)
    for tick, _, message in [*ordered, (end, 0, mido.MetaMessage("end_of_track"))]:
        while tick - now > _LONGEST_DELTA:
            chunk.append(mido.MetaMessage("text", time=_LONGEST_DELTA))
            now += _LONGEST_DELTA
        chunk.append(message.copy(time=tick - now))
        now = tick
    return chunk


def _head(track: MidiTrack) -> list[Message]:
    head: list[Message] = []
    if track.name:
        head.append(mido.MetaMessage("track_name", name=track.name))
    if track.program or not track.percussion:
        head.append(mido.Message("program_change", channel=track.channel, program=track.program))
    return head


def _signatures(score: MidiScore) -> Iterator[Timed]:
    for change in score.time.changes:
        yield change.tick, _SIGNATURE, mido.MetaMessage("set_tempo", tempo=change.microseconds)
    for meter in score.meters:
        message = mido.MetaMessage("time_signature", numerator=meter.numerator, denominator=meter.denominator)
        yield meter.tick, _SIGNATURE, message
    for key in score.keys:
        name = (_MINOR if key.minor else _MAJOR)[key.fifths + 7]
        yield key.tick, _SIGNATURE, mido.MetaMessage("key_signature", key=name)


def _notes(track: MidiTrack, path: Path) -> Iterator[Timed]:
    """Yield note-ons and note-offs; at a tick, notes end before others begin, and what has no length is in between.

    Raises:
        InvalidValueError: naming the first note that MIDI cannot have.
    """
    for onset, end, pitch, velocity in track.notes.tolist():
        if not (0 <= onset <= end and 0 <= pitch < 128 and 0 < velocity < 128):
            raise InvalidValueError(
                f"{path}: {track.name or 'a track'} has a note from {onset} to {end}, MIDI number {pitch}, velocity "
                f"{velocity}; a note ends after it begins, its number is 0 to 127 and its velocity 1 to 127"
            )
        on, off = (
            mido.Message("note_on", channel=track.channel, note=pitch, velocity=strength) for strength in (velocity, 0)
        )
        yield onset, _ON if end > onset else _STROKE, on
        yield end, _OFF if end > onset else _STROKE, off
