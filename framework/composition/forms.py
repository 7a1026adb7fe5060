"""Forms as people write them: `ABA`, `A8B4A8`, `AABA`."""

import re

from framework.errors import OstinatoError
from framework.music.songs import PHRASE_TYPES, Phrase

LETTERS = "ABCDEF"[:PHRASE_TYPES]
_ASKED = LETTERS[:-1]  # the last letter stands for all other phrases, which are not repetitions of each other
PHRASE = 8
"""Default length of a phrase (beats): the most frequent one in Bach's chorales."""
LONGEST = 16


class FormError(OstinatoError, ValueError):
    """A form that cannot be read."""


def form_of(text: str, longest: int) -> tuple[Phrase, ...]:
    """Parse a form: letters, each with an optional length in beats. The phrases have no keys yet.

    Phrases with the same letter and length have the same melody.

    Args:
        text: For example `ABA` or `A8B12A8`.
        longest: Largest length of a whole piece (beats).

    Raises:
        FormError: the form cannot be parsed or is too long.
    """
    if not re.fullmatch(r"([A-Za-z]\d*)+", text):
        raise FormError(f"--form {text!r} is not a valid form; write letters from A to {_ASKED[-1]}, as ABA or A8B12A8")
    phrases = []
    for letter, beats in re.findall(r"([A-Za-z])(\d*)", text):
        if letter.upper() not in _ASKED:
            raise FormError(f"--form {text!r} has a phrase {letter!r}; name phrases from A to {_ASKED[-1]}")
        units = int(beats) if beats else PHRASE
        if not 1 <= units <= LONGEST:
            raise FormError(f"--form {text!r} has a phrase of {units} beats; a phrase has 1 to {LONGEST}")
        phrases.append(Phrase(LETTERS.index(letter.upper()), units, 0, 0))
    total = sum(phrase.units for phrase in phrases)
    if total > longest:
        raise FormError(f"--form {text!r} has {total} beats; a piece has at most {longest}")
    return tuple(phrases)


def form_text(phrases: tuple[Phrase, ...]) -> str:
    """Return the text of a form, with all lengths, such as `A8B12A8`."""
    return "".join(f"{LETTERS[phrase.kind]}{phrase.units}" for phrase in phrases)
