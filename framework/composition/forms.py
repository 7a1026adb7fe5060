"""Forms as people write them: `ABA`, `A8B4A8`, `AABA`."""

import re

from framework.errors import OstinatoError
from framework.music.songs import PHRASE_TYPES, Phrase

LETTERS = "ABCDEF"[:PHRASE_TYPES]
_ASKED = LETTERS[:-1]  # the last kind is that of all other phrases: two of it have nothing in common
PHRASE = 8
"""Beats of a phrase whose length is not said: what most phrases of Bach's chorales have."""
LONGEST = 16


class FormError(OstinatoError, ValueError):
    """A form that cannot be read."""


def form_of(text: str, longest: int) -> tuple[Phrase, ...]:
    """Return the phrases that a form names, of no key yet: letters, each with a length in beats or without.

    A letter that comes again with the same length has its melody again.

    Args:
        text: As `ABA` or `A8B12A8`.
        longest: Beats that a whole piece may have.

    Raises:
        FormError: naming what is wrong and what can be written.
    """
    if not re.fullmatch(r"([A-Za-z]\d*)+", text):
        raise FormError(f"--form {text!r} is no form: write letters from A to {_ASKED[-1]}, as ABA or A8B12A8")
    phrases = []
    for letter, beats in re.findall(r"([A-Za-z])(\d*)", text):
        if letter.upper() not in _ASKED:
            raise FormError(f"--form {text!r} has a phrase {letter!r}: phrases are named from A to {_ASKED[-1]}")
        units = int(beats) if beats else PHRASE
        if not 1 <= units <= LONGEST:
            raise FormError(f"--form {text!r} has a phrase of {units} beats: a phrase has 1 to {LONGEST}")
        phrases.append(Phrase(LETTERS.index(letter.upper()), units, 0, 0))
    total = sum(phrase.units for phrase in phrases)
    if total > longest:
        raise FormError(f"--form {text!r} has {total} beats: a piece has at most {longest}")
    return tuple(phrases)


def form_text(phrases: tuple[Phrase, ...]) -> str:
    """Return a form as it is written, with all lengths."""
    return "".join(f"{LETTERS[phrase.kind]}{phrase.units}" for phrase in phrases)
