"""Songs as MIDI files."""

import bisect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import mido

from datamodules.song_files import SongFileError
from framework.music.notes import PERCUSSION, VOICES, Note

_TICKS = 480  # of a beat
_VELOCITY = 90
_DRUMS = 9  # the channel that General MIDI keeps for percussion
_MICROSECONDS = 500_000  # of a beat, until a file says otherwise


class Score(NamedTuple):
    """The voices of a MIDI file.

    Attributes:
        voices: Notes of each voice by its name, in beats of the tempo: the highest voice first, percussion last.
        tempo: Beats a minute, of the file's beginning.
        percussion: Names of the voices whose notes are keys of the drum kit.
    """

    voices: dict[str, tuple[Note, ...]]
    tempo: float
    percussion: frozenset[str]


def save_midi(
    path: Path,
    voices: Mapping[str, Sequence[Note]],
    steps: int,
    beats_a_minute: float,
    programs: Mapping[str, int] | None = None,
) -> None:
    """Write voices whose notes are in steps as MIDI, a track each with the voice's name.

    Args:
        path: The file.
        voices: Notes by name of the voice.
        steps: Of a beat.
        beats_a_minute: The tempo.
        programs: General MIDI programs by name of the voice, `PERCUSSION` for drums; a voice without one has none.
    """
    file, programs = mido.MidiFile(ticks_per_beat=_TICKS), programs or {}
    pitched = itertools.cycle(channel for channel in range(16) if channel != _DRUMS)
    for number, (name, notes) in enumerate(voices.items()):
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        if not number:
            track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats_a_minute)))
        program = programs.get(name)
        channel = _DRUMS if program == PERCUSSION else next(pitched)
        if program is not None and program != PERCUSSION:
            track.append(mido.Message("program_change", channel=channel, program=program))
        scale = _TICKS / steps
        strokes = [(round(n.onset * scale), _VELOCITY, n.midi) for n in notes]
        strokes += [(round(n.end * scale), 0, n.midi) for n in notes]
        now = 0
        for tick, velocity, midi in sorted(strokes):
            track.append(mido.Message("note_on", channel=channel, note=midi, velocity=velocity, time=tick - now))
            now = tick
        file.tracks.append(track)
    file.save(path)


def load_midi(path: Path) -> Score:
    """Return the voices of a MIDI file, one for each channel of each track, timed as the file's tempos say.

    A score has one tempo, that of the file's beginning: where the file's changes, beats are stretched or shrunk.

    Raises:
        SongFileError: the file is not there, is no MIDI, has no notes, or does not say how long a beat is.
    """
    try:
        file = mido.MidiFile(path)
    except Exception as error:
        # mido raises whatever its parsing stumbles upon.
        raise SongFileError(
            f"{path} cannot be read as MIDI ({str(error) or type(error).__name__}): name a MIDI file"
        ) from None
    if file.ticks_per_beat <= 0:
        # SMPTE divisions are negative numbers.
        raise SongFileError(f"{path} counts time in frames, or not at all, rather than in beats: export it in beats")
    events = [_timed(track) for track in file.tracks]
    changes = [(tick, m.tempo) for track in events for tick, m in track if m.type == "set_tempo"]
    if not all(tempo for _, tempo in changes):
        raise SongFileError(f"{path} has a tempo without end (0 microseconds a beat): export it again")
    tempos = {0: _MICROSECONDS} | dict(sorted(changes, key=lambda change: change[0]))
    beat = _beats(tempos, file.ticks_per_beat)
    voices: dict[str, tuple[Note, ...]] = {}
    percussion = set()
    for number, (track, timed) in enumerate(zip(file.tracks, events, strict=True)):
        for channel, notes in sorted(_notes(timed, beat).items()):
            name = _free(_name(track, number), voices)
            voices[name] = tuple(sorted(notes, key=lambda n: (n.onset, n.midi)))
            if channel == _DRUMS:
                percussion.add(name)
    if not voices:
        raise SongFileError(f"{path} has no notes: name another file")
    height = {name: sum(n.midi for n in notes) / len(notes) for name, notes in voices.items()}
    order = sorted(voices, key=lambda name: (name in percussion, -height[name]))
    return Score({name: voices[name] for name in order}, mido.tempo2bpm(tempos[0]), frozenset(percussion))


def _timed(track: mido.MidiTrack) -> list[tuple[int, Any]]:
    """Return a track's messages with their times in ticks since the beginning."""
    return list(zip(itertools.accumulate(message.time for message in track), track, strict=True))


def _beats(tempos: dict[int, int], ticks_per_beat: int) -> Callable[[int], float]:
    """Return what says how many beats of the first tempo are as long as the time up to a tick.

    Args:
        tempos: Microseconds a beat by the tick from which on they hold; in order, the first at 0.
        ticks_per_beat: Of the file.
    """
    ticks, first = list(tempos), tempos[0]
    edges = [0.0]
    for begin, end in itertools.pairwise(ticks):
        edges.append(edges[-1] + (end - begin) / ticks_per_beat * (tempos[begin] / first))

    def beat(tick: int) -> float:
        number = bisect.bisect_right(ticks, tick) - 1
        return edges[number] + (tick - ticks[number]) / ticks_per_beat * (tempos[ticks[number]] / first)

    return beat


def _notes(timed: Sequence[tuple[int, Any]], beat: Callable[[int], float]) -> dict[int, list[Note]]:
    """Return the notes of a track by channel."""
    sounding: dict[tuple[int, int], int] = {}
    found: dict[int, list[Note]] = {}
    for now, message in timed:
        if message.type not in ("note_on", "note_off"):
            continue
        key = message.channel, message.note
        begun = sounding.pop(key, None)
        if begun is not None and now > begun:
            note = Note(beat(begun), beat(now) - beat(begun), message.note)
            found.setdefault(message.channel, []).append(note)
        if message.type == "note_on" and message.velocity:
            sounding[key] = now
    return found


def _name(track: mido.MidiTrack, number: int) -> str:
    """Return a track's name as a file can have it, with its number where it is not that of a choir's voice."""
    name = next((m.name for m in track if m.type == "track_name" and m.name.strip()), "track")
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name.strip().lower())
    return plain if plain in VOICES else f"{number:02d}_{plain}"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Return a name, with a number if it is taken."""
    numbered: Iterator[str] = (f"{name}_{number}" for number in itertools.count(2))
    return next(other for other in itertools.chain([name], numbered) if other not in taken)
