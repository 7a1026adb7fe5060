"""The page of a piece: form, score, spectrogram and player, in one folder that opens from the disk."""

import html
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from framework.composition.forms import LETTERS
from framework.music.notes import Note
from framework.music.roll_pictures import COLOURS
from framework.music.songs import Song

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
svg { display: block; width: 100%; min-width: 640px; height: auto } .wide { overflow-x: auto; border: 1px solid #ccc }
img { max-width: 100%; height: auto } audio { width: 100% } li audio { display: block; height: 2.4em; max-width: 30em }
pre { white-space: pre-wrap; overflow-wrap: anywhere }
table { border-collapse: collapse } td, th { padding: .2em .8em; text-align: left; border-bottom: 1px solid #ddd }
code { background: #f2f2f2; padding: .1em .3em }
"""
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
        folder: Where; `spectrogram.png` is there already.
        title: Of the page.
        audio: Path of the mix from the folder.
        song: The piece, if its form is known.
        performed: Its voices, notes in seconds.
        measured: Measures of its structure by name.
        files: What else is in the folder, by path from there.
        settings: What the command was given.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", f'<audio controls src="{html.escape(audio)}"></audio>']
    if song is not None:
        parts += ["<h2>Form</h2>", wide(form_svg(song))]
    parts += ["<h2>Score</h2>", wide(score_svg(performed))]
    parts += ["<h2>Spectrogram</h2>", '<img src="spectrogram.png" alt="log-mel spectrogram of the mix">']
    if measured:
        shown = {name.replace("_", " "): "-" if math.isnan(v) else f"{v:.3f}" for name, v in measured.items()}
        rows = (f"<tr><td>{html.escape(name)}</td><td>{value}</td></tr>" for name, value in shown.items())
        parts += ["<h2>Structure</h2>", f"<table>{''.join(rows)}</table>"]
    links = (f'<li><a href="{html.escape(f)}">{html.escape(f)}</a>{player(f)}</li>' for f in files)
    parts += ["<h2>Layers</h2>", f"<ul>{''.join(links)}</ul>"]
    parts += ["<h2>Made with</h2>", f"<pre>{html.escape(json.dumps(dict(settings), indent=1))}</pre>"]
    page = folder / "index.html"
    page.write_text(
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style>\n" + "\n".join(parts) + "\n</html>\n"
    )
    return page


def wide(picture: str) -> str:
    """Return a picture in a box that scrolls where the screen is narrow."""
    return f'<div class="wide" tabindex="0">{picture}</div>'


def player(file: str) -> str:
    """Return a player of a recording, and nothing for other files."""
    return f'<audio controls preload="none" src="{html.escape(file)}"></audio>' if file.endswith(".wav") else ""


def form_svg(song: Song) -> str:
    """Return the phrases as bars with letter, length and key."""
    scale, start, bars = _WIDTH / max(song.units, 1), 0, []
    for phrase in song.phrases:
        key = _NAMES[phrase.tonic] + (" major" if phrase.tonic == phrase.scale else " minor")
        x, width = start * scale, phrase.units * scale
        bars.append(
            f'<rect x="{x:.1f}" y="0" width="{width:.1f}" height="48" fill="{_LETTERS[phrase.kind]}" stroke="#fff"/>'
            f'<text x="{x + 6:.1f}" y="20" font-size="15">{LETTERS[phrase.kind]} ({phrase.units})</text>'
            f'<text x="{x + 6:.1f}" y="40" font-size="12">{key}</text>'
        )
        start += phrase.units
    return f'<svg viewBox="0 0 {_WIDTH} 48" role="img" aria-label="form">{"".join(bars)}</svg>'


def score_svg(voices: Mapping[str, Sequence[Note]]) -> str:
    """Return the voices, notes in seconds, as a pianoroll."""
    everything = [note for notes in voices.values() for note in notes]
    low, high = min(n.midi for n in everything) - 2, max(n.midi for n in everything) + 2
    scale = _WIDTH / max(n.end for n in everything)
    height = (high - low + 1) * _ROW + _HEAD
    drawn = [f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>']
    for midi in range(low, high + 1):
        if midi % 12 == 0:
            y = _HEAD + (high - midi) * _ROW
            drawn.append(f'<line x1="0" x2="{_WIDTH}" y1="{y + _ROW}" y2="{y + _ROW}" stroke="#ddd"/>')
            drawn.append(f'<text x="2" y="{y + _ROW}" font-size="9" fill="#888">C{midi // 12 - 1}</text>')
    for number, (name, notes) in enumerate(voices.items()):
        colour = "#{:02x}{:02x}{:02x}".format(*COLOURS[min(number, len(COLOURS) - 1)])
        drawn.append(f'<text x="{10 + 120 * number}" y="16" font-size="13" fill="{colour}">{html.escape(name)}</text>')
        drawn += [
            f'<rect x="{n.onset * scale:.1f}" y="{_HEAD + (high - n.midi) * _ROW}" '
            f'width="{max(n.duration * scale - 1, 1):.1f}" height="{_ROW - 1}" fill="{colour}"/>'
            for n in notes
        ]
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="score">{"".join(drawn)}</svg>'
