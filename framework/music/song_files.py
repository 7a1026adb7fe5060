"""Songs as files: JSON that holds all of a song and can be edited by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from framework.errors import InvalidValueError, OstinatoError
from framework.json_text import parse_json
from framework.music.notes import Note
from framework.music.songs import PHRASE_TYPES, Chord, Phrase, Song


class SongFileError(OstinatoError, ValueError):
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
    """Read a song that `save_song` has written.

    Raises:
        SongFileError: the file is not there, or holds no song; what was edited by hand is named by its field.
    """
    try:
        plain = parse_json(path.read_text())
    except OSError as error:
        raise SongFileError(f"{path} cannot be read ({error.strerror}): name a level that a song left") from None
    except (ValueError, RecursionError) as error:
        raise SongFileError(f"{path} holds no song ({type(error).__name__}: {error}): name a level's JSON") from None
    try:
        _check(plain)
    except ValueError as error:
        raise SongFileError(f"{path} holds no song: {error}: correct it, or name a level's JSON") from None
    return from_plain(plain)


class _Column(NamedTuple):
    """What a number in a row of a song's JSON may be."""

    name: str
    least: int
    most: float
    whole: bool = True

    def check(self, place: str, value: Any) -> None:
        """Refuse another value by a ValueError that names the place."""
        if type(value) not in ((int,) if self.whole else (int, float)) or not self.least <= value <= self.most:
            kind = "a whole number" if self.whole else "a number"
            raise InvalidValueError(f"{place}: {self.name} is {value!r}, not {kind} from {self.least} to {self.most:g}")


_PHRASE = (
    _Column("kind", 0, PHRASE_TYPES - 1),
    _Column("units", 1, 10_000),
    _Column("tonic", 0, 11),
    _Column("scale", 0, 11),
)
_GRID = (_Column("unit", 1, 64), _Column("steps", 1, 960))
_CLASS, _BASS = _Column("pitch class", 0, 11), _Column("bass", 0, 11)


def _check(plain: Any) -> None:
    """Check the values of a song file, which may have been edited by hand.

    Raises:
        ValueError: naming the field.
    """
    if not isinstance(plain, dict):
        raise InvalidValueError("it is no object with a song's fields")
    for field in ("name", "unit", "steps", "phrases", "outline", "chords", "voices"):
        if field not in plain:
            raise InvalidValueError(f"{field} is missing")
    if not isinstance(plain["name"], str):
        raise InvalidValueError(f"name is {plain['name']!r}, not a text")
    for column in _GRID:
        column.check("the grid", plain[column.name])
    _check_rows("phrases", plain["phrases"], _PHRASE)
    if not plain["phrases"]:
        raise InvalidValueError("phrases is empty")
    beats = sum(units for _, units, _, _ in plain["phrases"]) * plain["unit"]
    for field in ("outline", "chords"):
        chord = (_Column("onset", 0, beats), _Column("duration", 1, beats), None, _BASS)
        _check_rows(field, plain[field], chord)
        for number, (_, _, classes, _) in enumerate(plain[field]):
            if not isinstance(classes, list):
                raise InvalidValueError(f"{field}[{number}]: pitch classes are {classes!r}, not a list")
            for value in classes:
                _CLASS.check(f"{field}[{number}]", value)
    if not isinstance(plain["voices"], dict):
        raise InvalidValueError("voices is no object with a voice's notes by its name")
    length = beats * plain["steps"]
    note = (_Column("onset", 0, length, False), _Column("duration", 0, length, False), _Column("MIDI number", 0, 127))
    for name, notes in plain["voices"].items():
        _check_rows(f"voices.{name}", notes, note)


def _check_rows(field: str, rows: Any, columns: Sequence[_Column | None]) -> None:
    """Check lists of one number a column; what stands where there is no column is not looked at."""
    if not isinstance(rows, list):
        raise InvalidValueError(f"{field} is {type(rows).__name__}, not a list")
    for number, row in enumerate(rows):
        place = f"{field}[{number}]"
        if not isinstance(row, list) or len(row) != len(columns):
            raise InvalidValueError(f"{place} is {row!r}, not a list of {len(columns)}")
        for value, column in zip(row, columns, strict=True):
            if column is not None:
                column.check(place, value)
