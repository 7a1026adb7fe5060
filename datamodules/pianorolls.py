"""Pianorolls to train on: of Bach's chorales, and of folders of MIDI files."""

import functools
import hashlib
import importlib.metadata
import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

import numpy as np
import torch

from datamodules.bach.corpus import Chorale, load_chorales
from datamodules.bach.splits import arrange
from datamodules.packing.midi import VERSION, fifths, midi_files, pack_midi, write_pieces
from datamodules.packing.once import make_once
from datamodules.packing.splits import SPLITS
from datamodules.shards.pieces import TICKS, Piece, read_pieces
from datamodules.shards.writer import MANIFEST, read_data_set
from datamodules.streaming.song_levels import SongLevel, Windows
from framework.annotations import MidiNumber, PositiveInt, Range
from framework.cache import cache_folder
from framework.errors import InvalidValueError
from framework.hyperparameters import runtime
from framework.music.grid import Grid
from framework.music.notes import PERCUSSION, VOICES

KITS = ("drums",)
FAMILIES = {"piano": (0, 24), "guitar": (24, 32), "bass": (32, 40), "strings": (40, 128)}
"""General MIDI programs, from and to, that a track of this name gathers."""
_VELOCITY = 90
_CHORALES = 2
"""Version of the packing; raise it with every change of the packed data."""


class Pianorolls(SongLevel):
    """Windows of written music as pianorolls, out of packed shards.

    A batch has `pianoroll` float32 (batch, tracks, steps, pitches), 1 where a note sounds, `key` and `position`; and of
    a window's piece, `fifths` (of the key signature as transposed, flats below 0) and `mode` (0 major, 1 minor) as
    int64 (batch,), and `phrase_ends` float32 (batch, steps), 1 in the last step of a phrase, where they are known, else
    0. The order is a function of seed, epoch and step; training goes on where it was left.

    Args:
        tracks: Names of the tracks, of which each gathers the instruments that `gathers` says.
        bars: Number of bars of a window, 4 beats each.
        beat_steps: Steps of the grid in a beat.
        lowest: MIDI number of the first pitch.
        pitches: How many there are.
        shift: Least and greatest number of semitones by which a window is transposed, drawn anew each time.
    """

    layout: ClassVar[Any] = SimpleNamespace(segments=0)
    """A window is seen by itself."""

    segment_shares = (1.0,)
    shift = (-5, 6)
    tracks: tuple[str, ...] = ("drums", "piano", "guitar", "bass", "strings")
    bars: PositiveInt = 4
    beat_steps: PositiveInt = 4
    lowest: MidiNumber = 24
    pitches: Annotated[int, Range(1, 128)] = 72

    def build(self) -> None:
        """Check the values.

        Raises:
            ValueError: a grid that notes cannot be put on, or pitches that MIDI does not have.
        """
        super().build()
        name = type(self).__name__
        if not self.tracks or self.bars < 1:
            raise InvalidValueError(
                f"{name}: a window needs tracks and bars, it has {len(self.tracks)} and {self.bars}"
            )
        if self.beat_steps < 1 or TICKS % self.beat_steps:
            raise InvalidValueError(f"{name}.beat_steps = {self.beat_steps}: must divide {TICKS}")
        if not (self.lowest >= 0 and self.pitches >= 1 and self.lowest + self.pitches <= 128):
            raise InvalidValueError(
                f"{name}: {self.pitches} pitches from {self.lowest} on are not all MIDI numbers below 128"
            )

    @property
    @abstractmethod
    def folder(self) -> Path:
        """The packed pieces; known after `prepare_data`."""

    @property
    def grid(self) -> Grid:
        """The tracks, steps and pitches of a window."""
        return Grid(self.tracks, self.bars, self.beat_steps, self.lowest, self.pitches)

    @property
    def segment(self) -> int:
        """Steps of a window."""
        return self.grid.steps

    def pieces(self, split: str) -> tuple[Piece, ...]:
        """Return the pieces of a split."""
        return _pieces(self.folder, split)

    def songs(self, split: str) -> tuple[Any, ...]:
        """Return the pieces of a split."""
        return self.pieces(split)

    def windows(self, split: str) -> "PianorollWindows":
        """Return all windows of a split.

        Raises:
            ValueError: no piece has one, or has an instrument that a track gathers.
        """
        pieces = self.pieces(split)
        found = PianorollWindows(self, pieces)
        if pieces and all(max(self.track_of(piece)) < 0 for piece in pieces):
            names = sorted({name for piece in pieces for name in piece.facts["tracks"]})
            raise InvalidValueError(
                f"{type(self).__name__}: none of the tracks {', '.join(self.tracks)} is in {self.folder}, which has "
                f"{', '.join(names[:8])}: set --data.tracks"
            )
        if split == "train" and not len(found):
            raise InvalidValueError(
                f"{type(self).__name__}: no piece in {self.folder} is as long as {self.bars} bars of 4/4"
            )
        return found

    def fingerprint(self) -> str:
        """Return a hash of all pieces."""
        return read_data_set(self.folder)["hash"][:16]

    def track_of(self, piece: Piece) -> list[int]:
        """Return for each instrument of a piece the number of the track that gathers it, -1 for none."""
        return track_of(piece, self.tracks)


class MidiPianorolls(Pianorolls):
    """A folder of MIDI files, packed once into the cache folder, or packed already by `ostinato pack`.

    Windows begin with the bars, and have only bars of 4 beats in them; the rest of a piece is left out.

    Args:
        path: The folder.
    """

    path: str = runtime("")

    @property
    def source(self) -> str:
        """The folder."""
        return self.path

    @functools.cached_property
    def folder(self) -> Path:
        """Where the packed pieces are."""
        if not self.path:
            raise InvalidValueError(f"{type(self).__name__}.path is empty: name a folder of MIDI files (--data FOLDER)")
        source = Path(self.path).expanduser()
        if (source / MANIFEST).exists():
            return source
        files = [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in midi_files(source)]
        digest = hashlib.sha256(json.dumps([VERSION, files]).encode(errors="surrogateescape")).hexdigest()
        return cache_folder() / "pianorolls" / f"{source.resolve().name[:40]}-{digest[:12]}"

    def prepare_data(self) -> None:
        """Pack the files, unless that was done before.

        Raises:
            ValueError: there is no such folder, or no file in it that can be used.
        """
        if not (self.folder / MANIFEST).exists():
            pack_midi(Path(self.path).expanduser(), self.folder)


class BachPianorolls(Pianorolls):
    """Bach's four-part chorales, a track each for soprano, alto, tenor and bass; nothing is downloaded.

    Windows begin at every beat, as the score does not say how long a pickup is; pieces in 3/4 are left out.
    """

    of_folder: ClassVar[type] = MidiPianorolls
    """What `--data FOLDER` opens instead."""

    tracks = VOICES

    @functools.cached_property
    def folder(self) -> Path:
        """Where the packed chorales are."""
        return cache_folder() / "pianorolls" / f"bach-{_CHORALES}-{importlib.metadata.version('music21')}"

    def prepare_data(self) -> None:
        """Pack the chorales, unless that was done before."""
        make_once(self.folder, pack_chorale_notes)


class PianorollWindows(Windows):
    """The windows of some pieces by number."""

    data: Pianorolls  # type: ignore[assignment]

    def __init__(self, data: Pianorolls, pieces: tuple[Piece, ...]) -> None:
        self.data, self.songs = data, pieces  # type: ignore[assignment]
        self.places = [
            (number, start)
            for number, piece in enumerate(pieces)
            for first, end in spans(piece)
            for start in range(first, end - 4 * data.bars + 1, piece.facts.get("stride", 4))
        ]

    def window(self, number: int, semitones: int, segments: int) -> dict[str, Any]:
        """Return a window that begins at a beat of a piece, transposed."""
        which, start = self.places[number]
        piece: Any = self.songs[which]
        data = self.data
        first = start * data.beat_steps
        roll = pianoroll(piece, data.grid, start, semitones)
        ends = np.zeros(data.segment, np.float32)
        for beat in piece.facts.get("phrase_ends", ()):
            step = round(beat * data.beat_steps) - 1 - first
            if 0 <= step < data.segment:
                ends[step] = 1
        sharps = (piece.facts.get("fifths", 0) + 7 * semitones + 5) % 12 - 5
        return {
            "pianoroll": torch.from_numpy(roll),
            "fifths": torch.tensor(sharps),
            "mode": torch.tensor(piece.facts.get("mode", 0)),
            "phrase_ends": torch.from_numpy(ends),
            "key": f"{piece.key}-{start:04d}",
        }


def spans(piece: Piece) -> list[list[int]]:
    """Return where a piece has bars of 4 beats: `[first, end]` in beats; all of it or nothing, if that is not known."""
    facts = piece.facts
    return facts.get("in_four", [[0, facts["length"]]] if facts["beats"] == 4 else [])


def pianoroll(piece: Piece, grid: Grid, start: int, semitones: int = 0) -> np.ndarray:
    """Return a window of a piece as float32 `(tracks, steps, pitches)`, 1 where a note sounds.

    A note has the steps whose middle it covers, at least one; pitches outside of the grid are left out.

    Args:
        piece: The piece.
        grid: The tracks, steps and pitches of the window.
        start: Beat of the piece that the window begins at.
        semitones: Transposition of all notes but drums.
    """
    size = TICKS // grid.beat_steps
    roll = np.zeros((len(grid.tracks), grid.steps, grid.pitches), np.float32)
    tracks, programs = np.array(track_of(piece, grid.tracks)), np.array(piece.facts["programs"])
    instrument, onset, duration, midi, _ = piece.notes.T
    begin = (onset + size // 2) // size - start * grid.beat_steps
    end = np.maximum(begin + 1, (onset + duration + size // 2) // size - start * grid.beat_steps)
    pitch = midi - grid.lowest + np.where(programs[instrument] == PERCUSSION, 0, semitones)
    seen = (end > 0) & (begin < grid.steps) & (tracks[instrument] >= 0) & (pitch >= 0) & (pitch < grid.pitches)
    for row in np.flatnonzero(seen):
        roll[tracks[instrument[row]], max(begin[row], 0) : end[row], pitch[row]] = 1
    return roll


def track_of(piece: Piece, tracks: Sequence[str]) -> list[int]:
    """Return for each instrument of a piece the number of the track that gathers it, -1 for none."""
    return [
        next((n for n, track in enumerate(tracks) if gathers(track, name, program)), -1)
        for name, program in zip(piece.facts["tracks"], piece.facts["programs"], strict=True)
    ]


def gathers(track: str, name: str, program: int) -> bool:
    """Say whether a track gathers an instrument: of its name, or of the family of programs that it names."""
    if track.lower() == name.lower():
        return True
    if program == PERCUSSION or track in KITS:
        return program == PERCUSSION and track in KITS
    first, end = FAMILIES.get(track, (0, 0))
    return first <= program < end


def chorale_piece(chorale: Chorale) -> Piece:
    """Return a chorale with its key signature and the ends of its phrases."""
    rows = [
        (track, round(note.onset * TICKS), max(1, round(note.duration * TICKS)), note.midi, _VELOCITY)
        for track, voice in enumerate(chorale.voices)
        for note in voice
    ]
    name, mode = chorale.key.split()
    tonic = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}[name[0]] + name.count("#") - name.count("b")
    facts = {
        "tracks": list(VOICES),
        "programs": [0] * len(VOICES),
        "beats": {"4/4": 4, "2/2": 4, "2/4": 4}.get(chorale.time_signature, 3),
        "length": int(-(-chorale.quarters // 1)),
        "stride": 1,
        "fifths": fifths(tonic % 12, mode == "minor"),
        "mode": int(mode == "minor"),
        "phrase_ends": list(chorale.fermatas),
    }
    return Piece(chorale.id.replace(".", "_"), np.array(sorted(rows, key=lambda row: row[1]), np.int32), facts)


def pack_chorale_notes(folder: Path) -> None:
    """Write all chorales into a folder, split as their recordings are."""
    found: dict[str, list[Piece]] = {split: [] for split in SPLITS}
    for chorale, split in arrange(load_chorales()):
        found[split].append(chorale_piece(chorale))
    write_pieces(folder, found)


@functools.cache
def _pieces(folder: Path, split: str) -> tuple[Piece, ...]:
    return tuple(read_pieces(folder, split))
