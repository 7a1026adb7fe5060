"""MIDI files as pieces, and folders of them packed into shards."""

import itertools
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from datamodules.packing.once import make_once
from datamodules.packing.splits import SPLITS, draw
from datamodules.shards.pieces import TICKS, Piece, PieceWriter
from datamodules.shards.writer import MANIFEST, read_manifest, write_manifest
from framework.folders import list_folder
from framework.music.midi.reader import MAX_BEATS, read_score
from framework.music.midi.score import END, PITCH, MidiError, MidiScore
from framework.progress import print_above, progress

VERSION = 3
"""Version of the packing; raise it with every change of the packed data, so that old folders are not reused."""
_SUFFIXES = (".mid", ".midi", ".rmi", ".kar")
_SHOWN = 5
_EXAMPLES = 3
_FIFTHS = {"C": 0, "G": 1, "D": 2, "A": 3, "E": 4, "B": 5, "F": -1}


class MidiFolderError(MidiError):
    """A folder without MIDI files that could be used; the message names it."""


@dataclass
class Remarks:
    """What was not understood, repaired or left out in the MIDI files of a folder.

    Attributes:
        counts: How often, by what it is.
        files: In how many files.
        examples: The names of some of them.
    """

    counts: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, remarks: Mapping[str, int]) -> None:
        """Add the remarks on a file."""
        self.counts.update(remarks)
        self.files.update(remarks.keys())
        for remark in remarks:
            examples = self.examples.setdefault(remark, [])
            if len(examples) < _EXAMPLES:
                examples.append(name)

    def plain(self) -> dict[str, dict[str, Any]]:
        """Return them as plain dictionaries, as a manifest holds them."""
        return {
            remark: {"count": count, "files": self.files[remark], "examples": self.examples[remark]}
            for remark, count in sorted(self.counts.items())
        }


class MidiFolder(NamedTuple):
    """What was read from a folder of MIDI files.

    Attributes:
        pieces: The pieces by name.
        skipped: Files that could not be used, and why.
        ignored: Numbers of files that are not read, by what they are.
        remarks: What was not understood in the pieces.
    """

    pieces: dict[str, Piece]
    skipped: list[str]
    ignored: dict[str, int]
    remarks: Remarks


def midi_files(folder: Path) -> list[Path]:
    """Return the MIDI files under a folder that a piece has one of, in order of their names; or the one file named.

    Raises:
        MidiFolderError: there is no such folder, or no MIDI in it.
    """
    if _is_midi(folder) and folder.is_file():
        return [folder]
    if not folder.is_dir():
        raise MidiFolderError(f"{folder}: no such folder: name a folder of MIDI files")
    files = [path for path in list_folder(folder).others if _is_midi(path) and not _is_draft(path, folder)]
    if not files:
        raise MidiFolderError(f"{folder}: there are no MIDI files (*.mid) in it")
    return files


def is_written_music(folder: Path) -> bool:
    """Say whether a folder has MIDI files, and no recordings."""
    try:
        files = midi_files(folder)
    except MidiFolderError:
        return False
    return files == [folder] or not list_folder(folder).audio


def _is_midi(path: Path) -> bool:
    return path.suffix.lower() in _SUFFIXES


def _is_draft(path: Path, folder: Path) -> bool:
    """Return whether a file is an earlier draft of a song, which POP909 keeps beside it."""
    return "versions" in path.relative_to(folder).parts


def _ignored(folder: Path) -> dict[str, int]:
    """Return how many files of a folder are not read, by what they are."""
    if folder.is_file():
        return {}
    listing = list_folder(folder)
    found = Counter(
        ("drafts in folders named versions" if _is_draft(path, folder) else "")
        if _is_midi(path)
        else f"{path.suffix.lower() or 'without suffix'}"
        for path in listing.others
    )
    found["hidden"] = len(listing.hidden)
    return {kind: count for kind, count in found.items() if kind and count}


def read_midi(path: Path) -> Piece:
    """Return a MIDI file's notes, a track for each instrument; its fact `in_four` has the spans of 4/4.

    Beats are the file's, or those of a `beat_midi.txt` beside it (seconds, and 1 where a bar begins), as POP909 has;
    its `key_audio.txt` says the key where the file does not.

    Raises:
        MidiError: it cannot be read as MIDI, or has no notes.
    """
    return piece_of(read_score(path), path)


def piece_of(score: MidiScore, path: Path) -> Piece:
    """Return the piece of a score that was read from a path.

    Raises:
        MidiError: it has no notes, or the beats beside the file cannot be read.
    """
    if not score.tracks:
        raise MidiError(f"{path}: has no notes")
    clock = _Clock(path, score)
    tracks = np.repeat(np.arange(len(score.tracks)), [len(track.notes) for track in score.tracks])
    played = np.concatenate([track.notes for track in score.tracks])
    onsets, ends = clock.ticks(played[:, :PITCH]).T
    # The bars begin at 0: what has ended by then is no part of them.
    onsets, kept = np.maximum(onsets, 0), (onsets >= 0) | (ends > 0)
    if not kept.any():
        raise MidiError(f"{path}: has no notes after the first beat of beat_midi.txt")
    found = np.column_stack([tracks, onsets, np.maximum(ends - onsets, 1), played[:, PITCH:]])[kept]
    order = np.lexsort((played[kept, END], found[:, 3], found[:, 0], found[:, 1]))
    notes = found[order].astype(np.int32)
    length = -(-int((notes[:, 1] + notes[:, 2]).max()) // TICKS)
    facts = {
        "tracks": [track.name.strip() for track in score.tracks],
        "programs": [track.instrument for track in score.tracks],
        "beats": round(clock.bars[0]) or 1,
        "in_four": in_four(clock.bars, length),
        "length": length,
    }
    return Piece(re.sub(r"[\x00-\x20./\\:*?\"<>|{}]+", "_", path.stem), notes, facts | _key_of(path, score))


def in_four(bars: dict[int, float], length: int) -> list[list[int]]:
    """Return the spans `[first, end]`, in beats, whose bars have 4 beats and begin on beats.

    Args:
        bars: Beats of a bar by the tick from which on they hold; in order, the first at 0.
        length: The length of the piece, in beats.
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

    def __init__(self, path: Path, score: MidiScore) -> None:
        self.time, self.seconds = score.time, np.zeros(0)
        starts = self.ticks(np.array([meter.tick for meter in score.meters], np.int64)).tolist()
        self.bars = {0: 4.0} | {tick: meter.beats for tick, meter in zip(starts, score.meters, strict=True)}
        written = path.with_name("beat_midi.txt")
        if written.exists():
            self.seconds, bars = _beats_beside(written)
            # Signatures change where the file's own beats say, which these are not.
            self.bars = {0: float(np.median(np.diff(bars))) if len(bars) > 1 else self.bars[0]}

    def ticks(self, places: np.ndarray) -> np.ndarray:
        """Return where ticks of the file are, in ticks of a piece."""
        if len(self.seconds) < 2:
            return np.rint(self.time.beats(places, TICKS)).astype(np.int64)
        seconds, beats = self.time.seconds(places), np.arange(len(self.seconds), dtype=float)
        first, last = self.seconds[:2], self.seconds[-2:]
        found = np.interp(seconds, self.seconds, beats)
        found = np.where(seconds < first[0], (seconds - first[0]) / (first[1] - first[0]), found)
        found = np.where(seconds > last[1], beats[-1] + (seconds - last[1]) / (last[1] - last[0]), found)
        return np.rint(np.clip(found, -MAX_BEATS, MAX_BEATS) * TICKS).astype(np.int64)


def _beats_beside(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of beats in seconds, from the first of a bar on, and the numbers of those that begin bars.

    Raises:
        MidiError: the file cannot be read, or its times do not increase.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty file
            table = np.loadtxt(path, ndmin=2)
    except (OSError, ValueError) as error:
        raise MidiError(
            f"{path}: cannot be read as beats ({error}); write a time in seconds and 0 or 1 a line"
        ) from None
    if not len(table):
        return np.zeros(0), np.zeros(0, np.int64)
    if table.shape[1] < 2 or not np.isfinite(table).all() or (np.diff(table[:, 0]) <= 0).any():
        raise MidiError(f"{path}: the times of beats must increase, with 1 beside those that begin a bar; correct it")
    bars = np.flatnonzero(table[:, 1 if table.shape[1] < 3 else 2] > 0)
    return table[bars[0] if len(bars) else 0 :, 0], bars


def _key_of(path: Path, score: MidiScore) -> dict[str, int]:
    if score.keys:
        key = score.keys[0]
        return {"fifths": (key.fifths + 5) % 12 - 5, "mode": int(key.minor)}
    beside = path.with_name("key_audio.txt")
    named = re.search(r"([A-G])([b#]?):(maj|min)", beside.read_text(errors="replace")) if beside.exists() else None
    if named is None:
        return {}
    tonic = _FIFTHS[named[1]] * 7 + {"b": -1, "#": 1, "": 0}[named[2]]
    minor = named[3] == "min"
    return {"fifths": fifths(tonic % 12, minor), "mode": int(minor)}


def fifths(tonic: int, minor: bool) -> int:
    """Return the sharps (flats below 0, at most 6) of a key signature, for a tonic's pitch class."""
    return ((tonic + (3 if minor else 0)) * 7 + 5) % 12 - 5


def read_folder(source: Path) -> MidiFolder:
    """Read all MIDI files under a folder.

    Raises:
        MidiFolderError: there is none that can be used.
    """
    found = MidiFolder({}, [], _ignored(source), Remarks())
    for path in progress(midi_files(source), f"reading {source.name}", unit="files"):
        try:
            score = read_score(path)
            piece = piece_of(score, path)
        except MidiError as error:
            found.skipped.append(str(error))
            continue
        name = path.relative_to(source) if path != source else Path(path.name)
        early = sum(len(track.notes) for track in score.tracks) - len(piece.notes)
        found.remarks.add(str(name), score.remarks + Counter({"notes before the first bar of beat_midi.txt": early}))
        key = piece.key
        if key in found.pieces:
            key = re.sub(r"[\s.]+", "_", f"{'_'.join(name.parent.parts)}_{key}_{len(found.pieces)}")
        found.pieces[key] = piece._replace(key=key)
    if not found.pieces:
        raise MidiFolderError(f"{source}: not one MIDI file could be used: {'; '.join(found.skipped[:_SHOWN])}")
    return found


def pack_midi(source: Path, destination: Path) -> dict[str, Any]:
    """Pack all MIDI files under a folder, split 80/10/10 by their names, and return the manifest.

    Files that cannot be used are left out; the manifest's `skipped` names them, and its `remarks` what was not
    understood in the others.

    Raises:
        MidiFolderError: there is none that can be used, or `destination` is in use for something else.
    """
    if destination.exists() and not (destination / MANIFEST).exists() and any(destination.iterdir()):
        raise MidiFolderError(f"{destination}: is in use for something else: choose another folder")
    found = read_folder(source)
    splits, remarks = split_by_name(found.pieces), found.remarks.plain()
    facts = {"source": str(source), "skipped": found.skipped, "remarks": remarks}
    make_once(destination, lambda folder: write_pieces(folder, splits, **facts))
    if found.skipped:
        more = f" and {len(found.skipped) - _SHOWN} more" if len(found.skipped) > _SHOWN else ""
        print_above(f"{destination}: {len(found.skipped)} left out: {'; '.join(found.skipped[:_SHOWN])}{more}")
    for line in remark_lines(remarks):
        print_above(f"{source}: {line}")
    return read_manifest(destination)


def remark_lines(remarks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for each of the remarks of a manifest: what, how often, and in which files."""
    for remark, found in remarks.items():
        more = ", ..." if found["files"] > len(found["examples"]) else ""
        plural = "s" if found["files"] > 1 else ""
        yield f"{remark}: {found['count']:,} in {found['files']:,} file{plural} ({', '.join(found['examples'])}{more})"


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
