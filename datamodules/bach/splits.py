"""Which chorale belongs to which split, and in which order chorales are taken when fewer than all are wanted."""

import itertools
from collections import Counter, defaultdict
from collections.abc import Sequence

from datamodules.bach.corpus import Chorale
from datamodules.packing.splits import SPLITS, draw
from framework.music.notes import Note

# Consecutive steps that make a phrase; in the corpus, pieces share either under 0.31 or over 0.73 of their phrases.
_PHRASE, _SAME = 8, 0.5


def arrange(chorales: Sequence[Chorale]) -> list[tuple[Chorale, str]]:
    """Return the chorales, each with its split, in an order whose every beginning is a fair sample.

    Versions of the same piece are in the same split. A piece's split does not depend on how many are taken; the first
    three pieces are one of each split, and a longer beginning has the splits' shares as nearly as may be.
    """
    group = groups(chorales)
    waiting: dict[str, list[Chorale]] = {split: [] for split in SPLITS}
    for chorale in sorted(chorales, key=lambda c: draw("order", c.id)):
        waiting[_split(group[chorale.id])].append(chorale)
    arranged: list[tuple[Chorale, str]] = []
    taken: Counter[str] = Counter()
    while any(waiting.values()):
        split = max(
            (s for s in SPLITS if waiting[s]), key=lambda s: (not taken[s], SPLITS[s] * len(arranged) - taken[s])
        )
        arranged.append((waiting[split].pop(0), split))
        taken[split] += 1
    return arranged


def groups(chorales: Sequence[Chorale]) -> dict[str, str]:
    """Map each piece to the first of the pieces that are the same music: copies, transpositions, small variants.

    Two pieces are the same when half the phrases in the lower three voices of one are found in the other. The soprano
    does not count: Bach set many a hymn tune more than once, and those are different pieces.
    """
    phrases = {chorale.id: _phrases(chorale) for chorale in chorales}
    found_in = defaultdict(list)
    for piece, own in phrases.items():
        for phrase in own:
            found_in[phrase].append(piece)
    shared = Counter(pair for pieces in found_in.values() for pair in itertools.combinations(pieces, 2))
    first = {piece: piece for piece in phrases}
    for (a, b), count in shared.items():
        if count >= _SAME * min(len(phrases[a]), len(phrases[b])):
            keep, drop = sorted((first[a], first[b]))
            first = {piece: keep if leader == drop else leader for piece, leader in first.items()}
    return first


def _split(group: str) -> str:
    position = draw("partition", group)
    for split, share in SPLITS.items():
        position -= share
        if position < 0:
            return split
    return "train"


def _phrases(chorale: Chorale) -> set[tuple]:
    """Return runs of (interval, time to the next note) in the lower voices: the same in every key."""
    found: set[tuple] = set()
    for number, voice in enumerate(chorale.voices[1:], 1):
        steps = [_step(a, b) for a, b in itertools.pairwise(voice)]
        found |= {(number, *steps[i : i + _PHRASE]) for i in range(len(steps) - _PHRASE + 1)}
    return found


def _step(note: Note, following: Note) -> tuple[int, int]:
    return following.midi - note.midi, round(4 * (following.onset - note.onset))
