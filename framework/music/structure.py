"""Long-form structure of a written piece: how like itself it is, what its phrases repeat, whether it keeps its key."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from framework.music.notes import Note
from framework.music.songs import PHRASE_TYPES, Phrase, Song, estimated_key, sounding_classes
from framework.traits import Trait

_MAJOR = np.array([1, 0, 1, 0, 1, 1, 0, 1, 0, 1, 0, 1])
_LEVEL = "framework/music/structure.py"
TRAITS = (
    Trait("phrase_repetition", "melody repeated in phrases of one letter", _LEVEL),
    Trait("other_repetition", "melody repeated in other phrases", _LEVEL),
    Trait("self_similarity", "harmonic self-similarity by letters", f"{_LEVEL}, after Foote (1999)"),
    Trait("key_coherence", "key coherence", _LEVEL),
    Trait("melody_range", "range of the melody", _LEVEL, "semitones"),
    Trait("notes_a_beat", "notes a beat", _LEVEL),
)
"""What is said of notes that are written to a form."""
FORM_TRAITS = (
    Trait("phrases", "phrases", _LEVEL),
    Trait("returning", "phrases whose letter has been before", _LEVEL),
    Trait("home", "phrases in the piece's own scale", _LEVEL),
)
"""What is said of a form by itself."""


@dataclass(frozen=True)
class Structure:
    """What is measured of a piece: shares between 0 and 1, but for a difference between them and the last two.

    What there is nothing to measure by, as the key of a piece without notes, is nan.

    Attributes:
        phrase_repetition: How much of two phrases' melodies is the same, on average over pairs of one letter; nan where
            no letter comes twice.
        other_repetition: The same of phrases with different letters.
        self_similarity: How much more alike phrases of one letter are in harmony than those of different letters: a
            difference, between -1 and 1.
        key_coherence: Share of the sounding time that is in the scale of the phrase's own key.
        home: Share of the phrases whose scale is the piece's.
        melody_range: Semitones from the lowest to the highest note of the melody.
        notes_a_beat: Onsets of all voices in a beat.
    """

    phrase_repetition: float
    other_repetition: float
    self_similarity: float
    key_coherence: float
    home: float
    melody_range: float
    notes_a_beat: float


def structure(song: Song, melody: str = "soprano") -> Structure:
    """Measure a piece whose form is known; `melody` names the voice that phrases are told apart by."""
    voices = [notes for name, notes in song.voices.items() if name != "skeleton"]
    everything = [note for notes in voices for note in notes]
    spans = phrase_spans(song)
    kinds = [phrase.kind for phrase in song.phrases]
    tune = song.voices[melody]
    contours = [contour(tune, begin, end) for begin, end in spans]
    same, other = pairs(contours, kinds)
    chroma = [chromagram(everything, begin, end, song.steps) for begin, end in spans]
    alike, unlike = pairs(chroma, kinds)
    heard = [sounding_classes(everything, begin, end) for begin, end in spans]
    inside = sum(h @ np.roll(_MAJOR, p.scale) for h, p in zip(heard, song.phrases, strict=True))
    sounding = float(np.sum(heard))
    home = estimated_key(np.sum(heard, axis=0))[1]
    pitches = [note.midi for note in tune]
    return Structure(
        phrase_repetition=mean(same),
        other_repetition=mean(other),
        self_similarity=mean(alike) - mean(unlike),
        key_coherence=float(inside / sounding) if sounding else float("nan"),
        home=mean([float(phrase.scale == home) for phrase in song.phrases]) if sounding else float("nan"),
        melody_range=float(max(pitches) - min(pitches)) if pitches else float("nan"),
        notes_a_beat=len(everything) / song.beats if song.beats else float("nan"),
    )


def form_traits(phrases: Sequence[Phrase]) -> dict[str, float]:
    """Return the `FORM_TRAITS` of a form; the piece's scale is the one that most of its units have."""
    kinds = [phrase.kind for phrase in phrases]
    units = np.bincount([p.scale for p in phrases], [p.units for p in phrases], 12)
    return {
        "phrases": float(len(phrases)),
        "returning": mean([float(kind in kinds[:number]) for number, kind in enumerate(kinds)]),
        "home": mean([float(phrase.scale == units.argmax()) for phrase in phrases]),
    }


def phrase_spans(song: Song) -> list[tuple[int, int]]:
    """Return where the phrases begin and end, in steps."""
    edges = itertools.accumulate((p.units * song.unit * song.steps for p in song.phrases), initial=0)
    return list(itertools.pairwise(edges))


def contour(notes: Sequence[Note], begin: int, end: int) -> np.ndarray:
    """Return the note (MIDI number) that sounds at each step of a span; 0 for a rest."""
    found = np.zeros(end - begin)
    for note in notes:
        found[max(int(note.onset) - begin, 0) : max(int(note.end) - begin, 0)] = note.midi
    return found


def chromagram(notes: Sequence[Note], begin: int, end: int, steps: int) -> np.ndarray:
    """Return which pitch classes sound in each beat of a span, `(beats, 12)`, each of norm 1."""
    beats = [sounding_classes(notes, beat, beat + steps) for beat in range(begin, end, steps)]
    found = np.array(beats).reshape(-1, 12)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-9)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Compare two phrases from their ends on, where the cadences are: contours by equality, chromagrams by cosine."""
    size = min(len(one), len(other))
    one, other = one[len(one) - size :], other[len(other) - size :]
    return float((one == other).mean()) if one.ndim == 1 else float((one * other).sum(1).mean())


def pairs(phrases: Sequence[np.ndarray], kinds: Sequence[int]) -> tuple[list[float], list[float]]:
    """Return the similarities of all pairs of phrases of the same kind, and of all other pairs.

    Two phrases of the last kind, which is that of all further ones, are no pair.
    """
    same: list[float] = []
    other: list[float] = []
    for first, second in itertools.combinations(range(len(phrases)), 2):
        if kinds[first] == kinds[second] == PHRASE_TYPES - 1:
            continue
        (same if kinds[first] == kinds[second] else other).append(likeness(phrases[first], phrases[second]))
    return same, other


def self_similarity_matrix(song: Song) -> np.ndarray:
    """Return how alike the harmonies of all beats are, `(beats, beats)`: cosines of pitch classes (Foote, 1999)."""
    everything = [note for name, notes in song.voices.items() if name != "skeleton" for note in notes]
    chroma = chromagram(everything, 0, song.length, song.steps)
    return chroma @ chroma.T


def mean(values: Sequence[float]) -> float:
    """Return the mean; nan of nothing."""
    return float(np.mean(values)) if values else float("nan")
