"""Bach's chorales as whole songs: phrases that end at fermatas, their keys, harmony and four voices on a grid."""

import functools
import importlib.metadata
import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from datamodules.bach.corpus import Chorale, load_chorales
from datamodules.bach.splits import arrange
from framework.cache import cache_folder
from framework.music.notes import VOICES, Note
from framework.music.song_files import as_plain, from_plain
from framework.music.songs import PHRASE_TYPES, Chord, Phrase, Song, phrase_keys, reduced, sounding_classes
from framework.writing import write_atomically

VERSION = 1
"""Version of the packing; raise it with every change of the packed data, so that old folders are not reused."""
RANGES = {"soprano": 48, "alto": 48, "tenor": 36, "bass": 36}
"""Lowest note (MIDI number) of the three octaves in which each voice is seen."""
OCTAVES = 3
STEPS = 2
"""Steps of the grid in a beat: eighths, on which 98.7 % of all notes begin."""
_LONGEST = 16  # beats: a longer phrase is one whose fermatas were not written
_SAME = 0.75


@functools.cache
def chorale_songs() -> dict[str, tuple[Song, ...]]:
    """Return the chorales with fermatas by split, each transposed to C major or A minor; kept in the cache folder."""
    kept = cache_folder() / "chorale_songs" / f"{VERSION}-{importlib.metadata.version('music21')}.json"
    if not kept.exists():
        found: dict[str, list[Any]] = {"train": [], "validation": [], "test": []}
        for chorale, split in arrange(load_chorales()):
            song = chorale_song(chorale)
            if song is not None:
                found[split].append(as_plain(song))
        write_atomically(kept, json.dumps(found))
    plain = json.loads(kept.read_text())
    return {split: tuple(map(from_plain, songs)) for split, songs in plain.items()}


def chorale_song(chorale: Chorale) -> Song | None:
    """Return a chorale on the grid, in C major or A minor; None where its phrases are not written, or too long."""
    beats = [0, *sorted({round(end) for end in chorale.fermatas} - {0})]
    lengths = [end - begin for begin, end in itertools.pairwise(beats)]
    if not lengths or max(lengths) > _LONGEST:
        return None
    last = beats[-1]
    voices = {name: on_grid(voice, last) for name, voice in zip(VOICES, chorale.voices, strict=True)}
    everything = [note for notes in voices.values() for note in notes]
    keys = phrase_keys(everything, [units * STEPS for units in lengths])
    kinds = phrase_kinds(voices["soprano"], lengths)
    phrases = tuple(Phrase(kind, units, *key) for kind, units, key in zip(kinds, lengths, keys, strict=True))
    outline = harmony(voices["bass"], everything, last)
    skeleton = tuple(reduced(voices["soprano"], outline, last, STEPS))
    song = Song(chorale.id, 1, STEPS, phrases, outline, voices=voices | {"skeleton": skeleton})
    return within_ranges(song.transposed(homeward(chorale, voices)))


def on_grid(voice: Sequence[Note], beats: int) -> tuple[Note, ...]:
    """Return a voice's notes on the grid, in steps; what is shorter than a step gives way to the note before it."""
    notes: list[Note] = []
    for note in voice:
        onset, end = round(note.onset * STEPS + 1e-6), min(round(note.end * STEPS + 1e-6), beats * STEPS)
        onset = max(onset, int(notes[-1].end) if notes else 0)
        if end > onset:
            notes.append(Note(onset, end - onset, note.midi))
    return tuple(notes)


def homeward(chorale: Chorale, voices: dict[str, tuple[Note, ...]]) -> int:
    """Return by how many semitones a chorale goes to C major or A minor: the fewest with all voices in their ranges."""
    minor, tonic = divmod(chorale.tonality, 12)
    shift = (9 * minor - tonic + 5) % 12 - 5

    def outside(semitones: int) -> int:
        places = (note.midi + semitones - RANGES[name] for name, notes in voices.items() for note in notes)
        return sum(not 0 <= place < 12 * OCTAVES for place in places)

    return min((shift, shift + 12, shift - 12), key=lambda s: (outside(s), abs(s)))


def within_ranges(song: Song) -> Song:
    """Return a song whose few notes outside of their voice's octaves are moved into them."""

    def moved(name: str, note: Note) -> Note:
        lowest = RANGES.get(name, RANGES["soprano"])
        inside = lowest <= note.midi < lowest + 12 * OCTAVES
        octave = lowest if note.midi < lowest else lowest + 12 * (OCTAVES - 1)
        return note if inside else replace(note, midi=octave + (note.midi - octave) % 12)

    return replace(song, voices={name: tuple(moved(name, n) for n in notes) for name, notes in song.voices.items()})


def phrase_kinds(melody: Sequence[Note], lengths: Sequence[int]) -> list[int]:
    """Number phrases by their melody, in order of appearance: one that sounds like an earlier one has its number."""
    contours: list[np.ndarray] = []
    kinds: list[int] = []
    for begin, end in itertools.pairwise([0, *itertools.accumulate(lengths)]):
        contour = np.zeros(end - begin)
        for note in melody:
            first, last = int(note.onset) // STEPS - begin, -(-int(note.end) // STEPS) - begin
            contour[max(first, 0) : max(last, 0)] = note.midi
        same = (number for number, other in enumerate(contours) if _alike(contour, other))
        kind = next(same, len(contours))
        if kind == len(contours):
            contours.append(contour)
        kinds.append(min(kind, PHRASE_TYPES - 1))
    return kinds


def _alike(one: np.ndarray, other: np.ndarray) -> bool:
    """Compare two contours from their ends, where the cadences are: a pickup may differ."""
    size = min(len(one), len(other))
    return abs(len(one) - len(other)) <= 2 and float((one[-size:] == other[-size:]).mean()) >= _SAME


def harmony(bass: Sequence[Note], notes: Sequence[Note], beats: int) -> tuple[Chord, ...]:
    """Return the chords that sound as each beat begins; equal ones in succession are one."""
    chords: list[Chord] = []
    for beat in range(beats):
        begin, end = beat * STEPS, beat * STEPS + 1
        classes = frozenset(np.flatnonzero(sounding_classes(notes, begin, end)).tolist())
        lowest = sounding_classes(bass, begin, end)
        if not classes or not lowest.any():
            continue
        root = int(lowest.argmax())
        before = chords[-1] if chords else None
        if before and (before.pitch_classes, before.bass) == (classes, root) and before.onset + before.duration == beat:
            chords[-1] = before._replace(duration=before.duration + 1)
        else:
            chords.append(Chord(beat, 1, classes, root))
    return tuple(chords)
