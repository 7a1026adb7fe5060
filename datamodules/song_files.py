"""Songs as files: JSON that holds all of a song and can be edited by hand, and MIDI."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mido

from datamodules.chorales import Note
from datamodules.songs import Chord, Phrase, Song

_TICKS = 480  # of a beat
_VELOCITY = 90


class SongFileError(ValueError):
    """A file that holds no song; the message names it and says what is wrong."""


def as_plain(song: Song) -> dict[str, Any]:
    """Return a song as plain lists and numbers: a note is [onset, duration, MIDI number]."""
    return {
        "name": song.name,
        "unit": song.unit,
        "steps": song.steps,
        "phrases": [list(phrase) for phrase in song.phrases],
        "outline": [[c.onset, c.duration, sorted(c.pitch_classes), c.bass] for c in song.outline],
        "chords": [[c.onset, c.duration, sorted(c.pitch_classes), c.bass] for c in song.chords],
        "voices": {name: [[n.onset, n.duration, n.midi] for n in notes] for name, notes in song.voices.items()},
    }


def from_plain(plain: dict[str, Any]) -> Song:
    """Return the song of `as_plain`."""
    outline, chords = (
        tuple(Chord(onset, duration, frozenset(classes), bass) for onset, duration, classes, bass in plain[part])
        for part in ("outline", "chords")
    )
    return Song(
        plain["name"],
        plain["unit"],
        plain["steps"],
        tuple(Phrase(*phrase) for phrase in plain["phrases"]),
        outline,
        chords,
        {name: tuple(Note(*note) for note in notes) for name, notes in plain["voices"].items()},
    )


def save_song(path: Path, song: Song) -> None:
    """Write a song as JSON."""
    path.write_text(json.dumps(as_plain(song)) + "\n")


def load_song(path: Path) -> Song:
    """Read what `save_song` wrote.

    Raises:
        SongFileError: the file is not there, or holds no song.
    """
    try:
        return from_plain(json.loads(path.read_text()))
    except OSError as error:
        raise SongFileError(f"{path} cannot be read ({error.strerror}): name a level that a song left") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SongFileError(f"{path} holds no song ({type(error).__name__}: {error}): name a level's JSON") from None


def save_midi(path: Path, voices: dict[str, Sequence[Note]], steps: int, beats_a_minute: float) -> None:
    """Write voices whose notes are in steps as MIDI, a track each with the voice's name."""
    file = mido.MidiFile(ticks_per_beat=_TICKS)
    for number, (name, notes) in enumerate(voices.items()):
        track = mido.MidiTrack([mido.MetaMessage("track_name", name=name)])
        if not number:
            track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(beats_a_minute)))
        scale = _TICKS / steps
        strokes = [(round(n.onset * scale), _VELOCITY, n.midi) for n in notes]
        strokes += [(round(n.end * scale), 0, n.midi) for n in notes]
        now = 0
        for tick, velocity, midi in sorted(strokes):
            track.append(mido.Message("note_on", channel=number % 9, note=midi, velocity=velocity, time=tick - now))
            now = tick
        file.tracks.append(track)
    file.save(path)


def load_midi(path: Path) -> tuple[dict[str, tuple[Note, ...]], float]:
    """Return the voices of a MIDI file, notes in beats, the highest track first, and the tempo in beats a minute.

    Raises:
        SongFileError: the file is not there, is no MIDI, or has no notes.
    """
    try:
        file = mido.MidiFile(path)
    except (OSError, ValueError, EOFError, KeyError, IndexError) as error:
        raise SongFileError(f"{path} cannot be read as MIDI ({error or type(error).__name__})") from None
    voices = {name: notes for number, track in enumerate(file.tracks) for name, notes in _voices(file, track, number)}
    if not voices:
        raise SongFileError(f"{path} has no notes")
    tempos = [message.tempo for track in file.tracks for message in track if message.type == "set_tempo"]
    ordered = sorted(voices.items(), key=lambda voice: -sum(n.midi for n in voice[1]) / len(voice[1]))
    return dict(ordered), mido.tempo2bpm(tempos[0]) if tempos else 120.0


def _voices(file: mido.MidiFile, track: mido.MidiTrack, number: int) -> list[tuple[str, tuple[Note, ...]]]:
    """Return a track's notes under its name and number, or nothing."""
    name = next((m.name for m in track if m.type == "track_name" and m.name.strip()), "track")
    sounding: dict[tuple[int, int], int] = {}
    notes: list[Note] = []
    now = 0
    for message in track:
        now += message.time
        if message.type not in ("note_on", "note_off"):
            continue
        key = message.channel, message.note
        begun = sounding.pop(key, None)
        if begun is not None and now > begun:
            notes.append(Note(begun / file.ticks_per_beat, (now - begun) / file.ticks_per_beat, message.note))
        if message.type == "note_on" and message.velocity:
            sounding[key] = now
    plain = "".join(c if c.isalnum() or c in "-_" else "_" for c in name.strip().lower())
    named = plain if plain in ("soprano", "alto", "tenor", "bass") else f"{number:02d}_{plain}"
    return [(named, tuple(sorted(notes, key=lambda n: (n.onset, n.midi))))] if notes else []
