"""Pianorolls as pictures."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from framework.music.notes import Note

COLOURS = ((214, 69, 65), (230, 150, 40), (60, 150, 90), (50, 100, 180), (130, 80, 160), (90, 90, 90))
"""Colours of the voices, the highest voice first."""
_BACKGROUND, _KEYS, _BORDER = (255, 255, 255), (238, 240, 244), (120, 120, 120)
_BLACK = (1, 3, 6, 8, 10)
_ROW, _STEP, _GAP = 6, 8, 6  # pixels


def roll_picture(pieces: Sequence[Sequence[Sequence[Note]]], length: int) -> Image.Image:
    """Return pianorolls of pieces one above the other, all of the same pitches.

    Args:
        pieces: Each of voices, whose notes are in steps.
        length: Steps that are shown.
    """
    pitches = [note.midi for piece in pieces for voice in piece for note in voice] or [60]
    low, high = min(pitches) - 2, max(pitches) + 3
    rows = []
    for piece in pieces:
        rows += [_drawn(piece, length, low, high), np.full((_GAP, length * _STEP, 3), _BORDER, np.uint8)]
    return Image.fromarray(np.concatenate(rows[:-1]))


def _drawn(voices: Sequence[Sequence[Note]], length: int, low: int, high: int) -> np.ndarray:
    picture = np.full(((high - low) * _ROW, length * _STEP, 3), _BACKGROUND, np.uint8)
    for midi in range(low, high):
        if midi % 12 in _BLACK:
            picture[(high - 1 - midi) * _ROW : (high - midi) * _ROW] = _KEYS
    for number, voice in enumerate(voices):
        for note in voice:
            top = (high - 1 - note.midi) * _ROW
            begin, end = int(note.onset * _STEP), int(note.end * _STEP) - 1
            picture[top : top + _ROW - 1, begin:end] = COLOURS[min(number, len(COLOURS) - 1)]
    return picture
