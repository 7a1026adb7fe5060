"""MIDI files as pieces, and folders of them packed into shards."""

import itertools
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pretty_midi
from tqdm import tqdm

from datamodules.chorale_packing import make_once
from datamodules.chorale_splits import SPLITS, draw
from datamodules.note_shards import TICKS, Piece, PieceWriter
from datamodules.shards import MANIFEST, read_manifest, write_manifest
from framework.errors import OstinatoError
from framework.music.notes import PERCUSSION

VERSION = 2
"""To be raised by any change to what is read, so that nobody's old shards are taken for the new ones."""
_SUFFIXES = (".mid", ".midi")
_SHOWN = 5
_FIFTHS = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}


class MidiFolderError(OstinatoError, ValueError):
    """A folder without MIDI files that could be used, or a file that cannot; the message names it."""


def midi_files(folder: Path) -> list[Path]:
    """Return the MIDI files under a folder that a piece has one of, in order of their names.

    Raises:
        MidiFolderError: there is no such folder, or no MIDI in it.
    """
    if not folder.is_dir():
        raise MidiFolderError(f"{folder}: no such folder: set --data.path to a folder of MIDI files")
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    # POP909 keeps earlier drafts of a song beside it.
    files = [path for path in files if "versions" not in path.relative_to(folder).parts]
    if not files:
        raise MidiFolderError(f"{folder}: there are no MIDI files (*.mid) in it")
    return files


def read_midi(path: Path) -> Piece:
    """Return a MIDI file's notes, a track for each instrument; its fact `in_four` has the stretches of 4/4.

    Beats are the file's, or those of a `beat_midi.txt` beside it (seconds, and 1 where a bar begins), as POP909 has;
    its `key_audio.txt` says the key where the file does not.

    Raises:
        MidiFolderError: it is no MIDI, is damaged, or has no notes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = pretty_midi.PrettyMIDI(str(path))
    except Exception as error:
        # mido and pretty_midi raise whatever their parsing stumbles upon.
        raise MidiFolderError(f"{path}: cannot be read as MIDI ({str(error) or type(error).__name__})") from None
    instruments = [instrument for instrument in file.instruments if instrument.notes]
    if not instruments:
        raise MidiFolderError(f"{path}: has no notes")
    clock = _Clock(path, file)
    rows = []
    for track, instrument in enumerate(instruments):
        for note in instrument.notes:
            onset, end = clock.ticks(note.start), clock.ticks(note.end)
            # The bars begin at 0: what has ended by then is no part of them.
            if end > 0 or onset >= 0:
                rows.append((track, max(onset, 0), max(end - max(onset, 0), 1), note.pitch, note.velocity))
    if not rows:
        raise MidiFolderError(f"{path}: has no notes after the first beat of beat_midi.txt")
    notes = np.array(sorted(rows, key=lambda row: (row[1], row[0], row[3])), np.int32)
    length = -(-int((notes[:, 1] + notes[:, 2]).max()) // TICKS)
    facts = {
        "tracks": [instrument.name.strip() for instrument in instruments],
        "programs": [PERCUSSION if i.is_drum else int(i.program) for i in instruments],
        "beats": round(clock.bars[0]) or 1,
        "in_four": in_four(clock.bars, length),
        "length": length,
    }
    return Piece(re.sub(r"[\x00-\x20./\\:*?\"<>|{}]+", "_", path.stem), notes, facts | _key_of(path, file))


def in_four(bars: dict[int, float], length: int) -> list[list[int]]:
    """Return the stretches `[first, end]`, in beats, whose bars have 4 beats and begin on beats.

    Args:
        bars: Beats of a bar by the tick from which on they hold; in order, the first at 0.
        length: Of the piece, in beats.
    """
    found: list[list[int]] = []
    for (tick, beats), (following, _) in itertools.pairwise([*bars.items(), (length * TICKS, 0.0)]):
        first, end = tick // TICKS, min(following // TICKS, length)
        if beats != 4 or tick % TICKS or end <= first:
            continue
        # A signature that is written again goes on, if it is where a bar begins.
        if found and found[-1][1] == first and (first - found[-1][0]) % 4 == 0:
            found[-1][1] = end
        else:
            found.append([first, end])
    return found


class _Clock:
    """The beats of a file: those written beside it, or its own; the first beat of a bar has number 0.

    `bars` says how many beats a bar has, by the tick from which on it has them.
    """

    def __init__(self, path: Path, file: pretty_midi.PrettyMIDI) -> None:
        self.file, self.seconds = file, np.zeros(0)
        changes = sorted(file.time_signature_changes, key=lambda change: change.time)
        self.bars = {0: 4.0} | {self.ticks(c.time): c.numerator * 4 / c.denominator for c in changes}
        written = path.with_name("beat_midi.txt")
        if written.exists():
            table = np.loadtxt(written, ndmin=2)
            bars = np.flatnonzero(table[:, 1 if table.shape[1] < 3 else 2] > 0)
            first = int(bars[0]) if len(bars) else 0
            self.seconds = table[first:, 0]
            # Signatures change where the file's own beats say, which these are not.
            self.bars = {0: float(np.median(np.diff(bars))) if len(bars) > 1 else self.bars[0]}

    def ticks(self, seconds: float) -> int:
        """Return where a time is, in ticks."""
        if len(self.seconds) < 2:
            return round(self.file.time_to_tick(seconds) * TICKS / self.file.resolution)
        beats = np.arange(len(self.seconds))
        if seconds < self.seconds[0]:
            beat = (seconds - self.seconds[0]) / (self.seconds[1] - self.seconds[0])
        elif seconds > self.seconds[-1]:
            beat = beats[-1] + (seconds - self.seconds[-1]) / (self.seconds[-1] - self.seconds[-2])
        else:
            beat = float(np.interp(seconds, self.seconds, beats))
        return round(float(beat) * TICKS)


def _key_of(path: Path, file: pretty_midi.PrettyMIDI) -> dict[str, int]:
    if file.key_signature_changes:
        number = file.key_signature_changes[0].key_number
        tonic, minor = number % 12, number >= 12
    else:
        beside = path.with_name("key_audio.txt")
        named = re.search(r"([A-G])([b#]?):(maj|min)", beside.read_text()) if beside.exists() else None
        if named is None:
            return {}
        tonic = _FIFTHS[named[1]] * 7 + {"b": -1, "#": 1, "": 0}[named[2]]
        minor = named[3] == "min"
    return {"fifths": fifths(tonic % 12, minor), "mode": int(minor)}


def fifths(tonic: int, minor: bool) -> int:
    """Return the sharps (flats below 0, at most 6) of a key signature, for a tonic's pitch class."""
    return ((tonic + (3 if minor else 0)) * 7 + 5) % 12 - 5


def pack_midi(source: Path, destination: Path) -> dict[str, Any]:
    """Pack all MIDI files under a folder, split 80/10/10 by their names, and return the manifest.

    Files that cannot be used are left out, named in a warning and in the manifest's `skipped`.

    Raises:
        MidiFolderError: there is none that can be used, or `destination` is in use for something else.
    """
    if destination.exists() and not (destination / MANIFEST).exists() and any(destination.iterdir()):
        raise MidiFolderError(f"{destination}: is in use for something else: choose another folder")
    found: dict[str, Piece] = {}
    skipped: list[str] = []
    files = midi_files(source)
    for path in tqdm(files, f"Packing {source.name}", unit=" files", dynamic_ncols=True, disable=len(files) < 2):
        try:
            piece = read_midi(path)
        except MidiFolderError as error:
            skipped.append(str(error))
            continue
        folder = "_".join(path.relative_to(source).parent.parts)
        key = piece.key if piece.key not in found else re.sub(r"[\s.]+", "_", f"{folder}_{piece.key}_{len(found)}")
        found[key] = piece._replace(key=key)
    if not found:
        raise MidiFolderError(f"{source}: not one MIDI file could be used: {'; '.join(skipped[:_SHOWN])}")
    splits, facts = split_by_name(found), {"source": str(source), "skipped": skipped}
    make_once(destination, lambda folder: write_pieces(folder, splits, **facts))
    if skipped:
        more = f" and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
        tqdm.write(f"{destination}: {len(skipped)} left out: {'; '.join(skipped[:_SHOWN])}{more}")
    return read_manifest(destination)


def split_by_name(pieces: dict[str, Piece]) -> dict[str, list[Piece]]:
    """Return pieces by split: each 80/10/10 by its name, one piece at least being held out for validation."""
    order = sorted(pieces, key=lambda key: draw("midi", key))
    held = max(1, round(SPLITS["validation"] * len(order))) if len(order) > 1 else 0
    tested = max(1, round(SPLITS["test"] * len(order))) if len(order) > 2 else 0
    names = {"validation": order[:held], "test": order[held : held + tested], "train": order[held + tested :]}
    return {split: [pieces[key] for key in sorted(keys)] for split, keys in names.items()}


def write_pieces(folder: Path, pieces: dict[str, list[Piece]], **facts: Any) -> None:
    """Write pieces by split into a folder, and its manifest."""
    for split, those in pieces.items():
        with PieceWriter(folder, split) as writer:
            for piece in those:
                writer.write_piece(piece)
    write_manifest(folder, ticks=TICKS, **facts)
