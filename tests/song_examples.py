"""Songs made by hand, for tests."""

from framework.music.notes import Note
from framework.music.songs import Chord, Phrase, Song, reduced

TUNE = (72, 74, 76, 77, 79, 77, 76, 74)
OTHER = (79, 76, 72, 76, 74, 71, 72, 72)
_TRIADS = {0: {0, 4, 7}, 5: {5, 9, 0}, 7: {7, 11, 2}}


def quarters(pitches, start=0):
    return tuple(Note(2 * (start + n), 2, midi) for n, midi in enumerate(pitches))


def chorale(form="ABA", name="by hand"):
    """A piece in C major on a grid of eighths, eight beats a phrase: A is one tune, all else another."""
    kinds = ["ABCDEF".index(letter) for letter in form]
    tune = [midi for kind in kinds for midi in (OTHER if kind else TUNE)]
    roots = [(0, 5, 7, 0)[beat // 2 % 4] for beat in range(len(tune))]
    voices = {
        "soprano": quarters(tune),
        "alto": quarters([midi - 7 for midi in tune]),
        "tenor": quarters([60 + root // 2 for root in roots]),
        "bass": quarters([36 + root for root in roots]),
    }
    outline = tuple(Chord(b, 2, frozenset(_TRIADS[roots[b]]), roots[b]) for b in range(0, len(tune), 2))
    voices["skeleton"] = tuple(reduced(voices["soprano"], outline, len(tune), 2))
    return Song(name, 1, 2, tuple(Phrase(kind, 8, 0, 0) for kind in kinds), outline, voices=voices)
