"""Songs as MIDI files: a track for each voice."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from framework.music.midi.reader import read_score
from framework.music.midi.score import (
    DRUM_CHANNEL,
    PITCH,
    MidiError,
    MidiScore,
    MidiTrack,
    TempoChange,
    TempoMap,
    note_array,
)
from framework.music.midi.writer import write_score
from framework.music.notes import PERCUSSION, VOICES, Note

_TICKS = 480  # of a beat
_VELOCITY = 90


class MidiVoices(NamedTuple):
    """The voices of a MIDI file.

    Attributes:
        voices: Notes of each voice by its name, in beats of the tempo: the highest voice first, percussion last.
        tempo: Beats per minute at the beginning of the file.
        percussion: Names of the voices whose notes are keys of the drum kit.
    """

    voices: dict[str, tuple[Note, ...]]
    tempo: float
    percussion: frozenset[str]


def save_midi(
    path: Path,
    voices: Mapping[str, Sequence[Note]],
    steps: int,
    tempo_bpm: float,
    programs: Mapping[str, int] | None = None,
) -> None:
    """Write voices as a MIDI file with one named track for each.

    Args:
        path: The file.
        voices: Notes by name of the voice, onsets and durations in steps.
        steps: Per beat.
        tempo_bpm: The tempo.
        programs: General MIDI programs by name of the voice, `PERCUSSION` for drums; 0, the piano, for others.
    """
    pitched = itertools.cycle(channel for channel in range(16) if channel != DRUM_CHANNEL)
    tracks = []
    for number, (name, notes) in enumerate(voices.items()):
        program = (programs or {}).get(name, 0)
        drums, scale = program == PERCUSSION, _TICKS / steps
        rows = [(round(n.onset * scale), round(n.end * scale), n.midi, _VELOCITY) for n in notes]
        channel = DRUM_CHANNEL if drums else next(pitched)
        tracks.append(MidiTrack(note_array(rows), name, channel, 0 if drums else program, number))
    tempo = TempoChange(0, round(60e6 / tempo_bpm))
    write_score(path, MidiScore(tuple(tracks), TempoMap([tempo], _TICKS)))


def load_midi(path: Path) -> MidiVoices:
    """Read the voices of a MIDI file.

    Raises:
        MidiError: the file cannot be read as MIDI, or has no notes.
    """
    return voices_of(read_score(path), path)


def voices_of(score: MidiScore, path: Path) -> MidiVoices:
    """Return the voices of a score, one for each channel of each track chunk, timed by its tempos.

    Beats are those of the first tempo: where the tempo changes, beats are stretched or shrunk.

    Args:
        score: The contents of a MIDI file.
        path: The path of the file, for the message.

    Raises:
        MidiError: it has no notes.
    """
    if not score.tracks:
        raise MidiError(f"{path}: has no notes; name another file")
    voices: dict[str, tuple[Note, ...]] = {}
    percussion = set()
    for (chunk, channel), tracks in _voices(score).items():
        name = _free(_name(tracks[0].name, chunk), voices)
        notes = np.concatenate([track.notes for track in tracks])
        onsets, ends = score.time.steady_beats(notes[:, :PITCH]).T
        rows = zip(onsets.tolist(), (ends - onsets).tolist(), notes[:, PITCH].tolist(), strict=True)
        voices[name] = tuple(sorted((Note(*row) for row in rows), key=lambda n: (n.onset, n.midi)))
        if channel == DRUM_CHANNEL:
            percussion.add(name)
    height = {name: sum(n.midi for n in notes) / len(notes) for name, notes in voices.items()}
    order = sorted(voices, key=lambda name: (name in percussion, -height[name]))
    return MidiVoices({name: voices[name] for name in order}, score.tempo, frozenset(percussion))


def _voices(score: MidiScore) -> dict[tuple[int, int], list[MidiTrack]]:
    """Return the tracks by chunk and channel: a voice may change its program."""
    found: dict[tuple[int, int], list[MidiTrack]] = {}
    for track in sorted(score.tracks, key=lambda track: (track.chunk, track.channel)):
        found.setdefault((track.chunk, track.channel), []).append(track)
    return found


def _name(name: str, chunk: int) -> str:
    """Return a track's name as a file can have it, with its number where it is not that of a choir's voice."""
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name.strip().lower()) or "track"
    return plain if plain in VOICES else f"{chunk:02d}_{plain}"


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Return a name, with a number if it is taken."""
    numbered: Iterator[str] = (f"{name}_{number}" for number in itertools.count(2))
    return next(other for other in itertools.chain([name], numbered) if other not in taken)
