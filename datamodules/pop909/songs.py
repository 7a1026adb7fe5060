"""POP909 as whole songs: phrases, chords and melody of its structure labels, the piano of its MIDI files."""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from datamodules.packing.splits import SPLITS, draw
from framework.errors import InvalidValueError, OstinatoError
from framework.music.midi.reader import read_score
from framework.music.midi.score import PITCH
from framework.music.notes import Note
from framework.music.songs import PHRASE_TYPES, Chord, Phrase, Song, phrase_keys, reduced

STEPS = 4
"""Steps of the grid in a beat: sixteenths."""
LOWEST = 54
"""Least MIDI number of a melody, which is moved by octaves: transposed by 6 semitones it stays above the chords."""
LABELS = "structure_labels"
_MELODY, _PLAYED = "MELODY", ("BRIDGE", "PIANO")


class Pop909Error(OstinatoError, ValueError):
    """POP909 is not where it should be, or a file of it cannot be read; the message names the file."""


def pop909_songs(folder: Path) -> dict[str, tuple[Song, ...]]:
    """Return the songs in a folder by split (80/10/10, by their names).

    Args:
        folder: It holds `001/001.mid`, `001/beat_midi.txt` ... of music-x-lab/POP909-Dataset, and in `structure_labels`
            the folders of Dsqvival/hierarchical-structure-analysis (Dai et al., 2020).

    Raises:
        Pop909Error: there are none, or a file cannot be read.
    """
    names = sorted(path.parent.name for path in folder.glob(f"{LABELS}/*/human_label1.txt"))
    names = [name for name in names if (folder / name / f"{name}.mid").exists()]
    if not names:
        raise Pop909Error(
            f"no songs of POP909 in {folder}: put the folders 001, 002 ... of music-x-lab/POP909-Dataset there, and in "
            f"{folder / LABELS} those of Dsqvival/hierarchical-structure-analysis, or name their folder by --data"
        )
    found: dict[str, list[Song]] = {split: [] for split in SPLITS}
    for name in names:
        position = draw("POP909", name)
        edges = itertools.accumulate(SPLITS.values())
        split = next((s for s, edge in zip(SPLITS, edges, strict=True) if position < edge), "train")
        found[split].append(pop909_song(folder, name))
    return {split: tuple(songs) for split, songs in found.items()}


def pop909_song(folder: Path, name: str) -> Song:
    """Return one song.

    Raises:
        Pop909Error: a file of it cannot be read.
    """
    labels = folder / LABELS / name
    try:
        sections = re.findall(r"([A-Za-z])(\d+)", (labels / "human_label1.txt").read_text())
        chords = read_chords((labels / "finalized_chord.txt").read_text())
        melody = raised(read_melody((labels / "melody.txt").read_text()))
        lengths = [int(measures) for _, measures in sections]
        unit = max(2, round((chords[-1].onset + chords[-1].duration) / sum(lengths)))
        beats, steps = sum(lengths) * unit, sum(lengths) * unit * STEPS
        chords = [c._replace(duration=min(c.duration, beats - c.onset)) for c in chords if c.onset < beats]
        melody = tuple(replace(n, duration=min(n.duration, steps - n.onset)) for n in melody if n.onset < steps)
        piano = read_piano(folder / name, melody, steps)
    except (OSError, ValueError, IndexError, KeyError, ZeroDivisionError) as error:
        raise Pop909Error(f"{folder}: song {name} cannot be read: {error}") from None
    sounding = [Note(c.onset * STEPS, c.duration * STEPS, p) for c in chords for p in c.pitch_classes]
    keys = phrase_keys([*sounding, *melody], [measures * unit * STEPS for measures in lengths])
    kinds = [phrase_kind(letter) for letter, _ in sections]
    phrases = tuple(Phrase(kind, units, *key) for kind, units, key in zip(kinds, lengths, keys, strict=True))
    outline = outlined(chords, unit)
    skeleton = reduced(melody, outline, beats, STEPS)
    voices = {"melody": melody, "skeleton": tuple(skeleton), "piano": piano}
    return Song(name, unit, STEPS, phrases, outline, tuple(chords), voices)


def phrase_kind(letter: str) -> int:
    """Return the kind of a labelled phrase (section 3.1): A, B, other melodies, intro, outro, other interludes."""
    if letter.isupper():
        return {"A": 0, "B": 1}.get(letter, 2)
    return {"i": 3, "o": 4, "z": 4}.get(letter, PHRASE_TYPES - 1)


def read_chords(text: str) -> list[Chord]:
    """Return the chords of lines `name [pitch classes] bass beats`; where there is none, no bass is named.

    Raises:
        ValueError: quoting a line of another form.
    """
    chords, now = [], 0
    for line in filter(str.strip, text.splitlines()):
        if not (parts := re.fullmatch(r"\S+\s+\[([\d, ]*)\]\s+(?:(-?\d+)\s+)?(\d+)\s*", line)):
            raise InvalidValueError(f"a line of chords is {line!r}, not as 'C:maj [0, 4, 7] 0 2'")
        sounding = frozenset(int(c) % 12 for c in parts[1].split(",") if c.strip())
        if sounding and parts[2]:
            chords.append(Chord(now, int(parts[3]), sounding, int(parts[2]) % 12))
        now += int(parts[3])
    return chords


def read_melody(text: str) -> tuple[Note, ...]:
    """Return the melody of lines `MIDI-number sixteenths`, where number 0 is a rest."""
    notes, now = [], 0
    for line in filter(str.strip, text.splitlines()):
        midi, duration = map(int, line.split())
        if midi:
            notes.append(Note(now, duration, midi))
        now += duration
    return tuple(notes)


def raised(melody: Sequence[Note]) -> tuple[Note, ...]:
    """Return a melody moved up by the octaves that it needs to lie above the chords' rows."""
    octaves = max(0, -(-(LOWEST - min(note.midi for note in melody)) // 12))
    return tuple(replace(note, midi=note.midi + 12 * octaves) for note in melody)


def read_piano(folder: Path, melody: Sequence[Note], steps: int) -> tuple[Note, ...]:
    """Return what bridge and piano play, on the grid of the labels.

    The labels begin at another beat than the MIDI file: at the one by which most melody notes are in both.
    """
    beats = np.array([float(line.split()[0]) for line in (folder / "beat_midi.txt").read_text().splitlines() if line])
    # As pretty_midi reads overlapping notes, with which the songs were first read: their fingerprint stays the same.
    score = read_score(folder / f"{folder.name}.mid", note_off="all")

    def notes_of(names: Sequence[str]) -> list[Note]:
        found = []
        for track in score.tracks:
            if track.name.strip().upper() in names:
                places = np.rint(np.interp(score.seconds(track), beats, np.arange(len(beats))) * STEPS).astype(int)
                rows = zip(places.tolist(), track.notes[:, PITCH].tolist(), strict=True)
                found += [Note(onset, max(1, end - onset), pitch) for (onset, end), pitch in rows]
        return found

    labelled = {(note.midi % 12, int(note.onset)) for note in melody}
    sung = [(note.midi % 12, int(note.onset)) for note in notes_of((_MELODY,))]
    votes = Counter(there - here for c, there in sung for d, here in labelled if c == d)
    offset = votes.most_common(1)[0][0] if votes else 0
    moved = (replace(note, onset=note.onset - offset) for note in notes_of(_PLAYED))
    return tuple(sorted((n for n in moved if 0 <= n.onset < steps), key=lambda n: (n.onset, n.midi)))


def outlined(chords: Sequence[Chord], measure: int) -> tuple[Chord, ...]:
    """Return chords in outline: those of a measure with one bass, of which one holds the other, are the larger one."""
    found: list[Chord] = []
    for chord in chords:
        before = found[-1] if found else None
        if (
            before is not None
            and before.onset // measure == chord.onset // measure
            and before.bass == chord.bass
            and (before.pitch_classes <= chord.pitch_classes or chord.pitch_classes <= before.pitch_classes)
        ):
            classes = before.pitch_classes | chord.pitch_classes
            found[-1] = before._replace(pitch_classes=classes, duration=before.duration + chord.duration)
        else:
            found.append(chord)
    return tuple(found)
