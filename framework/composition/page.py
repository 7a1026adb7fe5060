"""Writes the HTML page of a piece: form, score, spectrogram and player, which needs no server."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from framework.composition.forms import LETTERS
from framework.music.notes import Note
from framework.music.roll_pictures import COLOURS
from framework.music.songs import Song

_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_LETTERS = ("#f4b6b0", "#f6d9a6", "#b9dfc5", "#b7cdea", "#d3bfe6", "#d0d0d0")
_WIDTH, _ROW, _HEAD = 1100, 7, 26


def write_page(
    folder: Path,
    title: str,
    audio: str,
    song: Song | None,
    performed: Mapping[str, Sequence[Note]],
    measured: Mapping[str, float],
    files: Sequence[str],
    settings: Mapping[str, Any],
) -> Path:
    """Write `index.html` of a piece.

    Args:
        folder: The folder of the page, which contains `spectrogram.png`.
        title: The title of the page.
        audio: Path of the mix, relative to the folder.
        song: The piece; None if its form is not known.
        performed: Notes of each voice, in seconds.
        measured: Structure metrics by name.
        files: Paths of the other files, relative to the folder.
        settings: The options of the command.
    """
    shown = {name.replace("_", " "): "-" if math.isnan(v) else f"{v:.3f}" for name, v in measured.items()}
    pages = Environment(loader=PackageLoader(__package__, "template"), autoescape=True, trim_blocks=True)
    page = folder / "index.html"
    page.write_text(
        pages.get_template("index.html").render(
            title=title,
            audio=audio,
            form=song and form_picture(song),
            score=score_picture(performed),
            measured=shown,
            files=files,
            settings=json.dumps(dict(settings), indent=1),
        )
    )
    return page


def form_picture(song: Song) -> dict[str, Any]:
    """Return the phrases as rectangles with letter, length and key, in SVG coordinates."""
    scale, start, bars = _WIDTH / max(song.units, 1), 0, []
    for phrase in song.phrases:
        x = start * scale
        bars.append(
            {
                "x": f"{x:.1f}",
                "text": f"{x + 6:.1f}",
                "width": f"{phrase.units * scale:.1f}",
                "colour": _LETTERS[phrase.kind],
                "letter": LETTERS[phrase.kind],
                "units": phrase.units,
                "key": _NAMES[phrase.tonic] + (" major" if phrase.tonic == phrase.scale else " minor"),
            }
        )
        start += phrase.units
    return {"width": _WIDTH, "bars": bars}


def score_picture(voices: Mapping[str, Sequence[Note]]) -> dict[str, Any]:
    """Return the voices (notes in seconds) as a pianoroll in SVG coordinates."""
    everything = [note for notes in voices.values() for note in notes]
    low, high = min(n.midi for n in everything) - 2, max(n.midi for n in everything) + 2
    scale = _WIDTH / max(n.end for n in everything)
    octaves = [
        {"name": f"C{midi // 12 - 1}", "y": _HEAD + (high - midi + 1) * _ROW}
        for midi in range(low, high + 1)
        if midi % 12 == 0
    ]
    drawn = []
    for number, (name, notes) in enumerate(voices.items()):
        rows = [
            (
                f"{n.onset * scale:.1f}",
                _HEAD + (high - n.midi) * _ROW,
                f"{max(n.duration * scale - 1, 1):.1f}",
                _ROW - 1,
            )
            for n in notes
        ]
        colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[min(number, len(COLOURS) - 1)])
        drawn.append({"name": name, "x": 10 + 120 * number, "colour": colour, "notes": rows})
    return {"width": _WIDTH, "height": (high - low + 1) * _ROW + _HEAD, "octaves": octaves, "voices": drawn}
