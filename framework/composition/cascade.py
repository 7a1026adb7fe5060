"""Generates a whole piece with a cascade of trained levels (Wang et al., 2024, section 4.3)."""

import hashlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from framework.music.layouts import FORM, Layout, best_scale, form_image, window
from framework.music.songs import Phrase, Song
from framework.progress import progress


def write_form(level: Any, seed: int, wanted: tuple[Phrase, ...] = ()) -> tuple[Phrase, ...]:
    """Generate a form with a trained level; with `wanted` phrases, generate only their keys.

    Raises:
        ValueError: the generated image contains no song.
    """
    layout: Layout = level.layout
    image = np.zeros((FORM, layout.window, layout.pitch), np.float32)
    known = np.zeros_like(image)
    if wanted:
        units = sum(phrase.units for phrase in wanted)
        image[2:, :units] = form_image(wanted, layout.pitch)[2:]
        known[2:], known[:, units:], known[:, :, 12:] = 1, 1, 1
    front = made(level, image, None, known, seed, 0)
    return keyed(wanted, front) if wanted else layout.completed(Song("", 1, 1, ()), front).phrases


def keyed(wanted: tuple[Phrase, ...], front: np.ndarray) -> tuple[Phrase, ...]:
    """Return the wanted phrases with the keys in a form's image `(front, time, pitch)`."""
    phrases, start = [], 0
    for phrase in wanted:
        inside = front[:2, start : start + phrase.units, :12].sum(1)
        phrases.append(phrase._replace(tonic=int(inside[0].argmax()), scale=best_scale(inside[1])))
        start += phrase.units
    return tuple(phrases)


def write_level(level: Any, song: Song, seed: int) -> Song:
    """Extend a song by a trained level, phrase by phrase: the model inpaints around the notes that exist already.

    A phrase longer than half a window is divided into equal spans. The window starts half a window before the span, so
    that it contains notes generated before. Earlier spans of phrases with the same letter are given to the model as
    references. A phrase whose letter and length have occurred before is given the melody generated then.
    """
    layout: Layout = level.layout
    image, rows = layout.image(song), layout.rows(song)
    canvas = image[: layout.front].copy()
    cuts = list(spans(song, rows, layout.window // 2))
    for begin, end in progress(cuts, f"writing {layout.title}", unit="spans"):
        start = max(0, begin - layout.window // 2) // rows * rows
        known = np.zeros_like(canvas)
        known[:, :begin] = 1
        repeated = layout.repeated(song, begin, end)
        if repeated:
            channels, source = repeated
            canvas[:channels, begin:end] = canvas[:channels, source : source + end - begin]
            known[:channels, begin:end] = 1
        seen = image.copy()
        seen[: layout.front] = canvas
        segments = layout.earlier(seen, song, start, layout.segments)
        front = made(
            level, window(seen, start, layout.window), segments, window(known, start, layout.window), seed, begin
        )
        canvas[:, begin:end] = front[:, begin - start : end - start]
        # Convert to notes and back, so that the model's input looks like the training data for the next span.
        written = layout.image(layout.completed(song, canvas))[: layout.front]
        canvas[:, :end] = written[:, :end]
    return layout.completed(song, canvas)


def spans(song: Song, rows: int, longest: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) in rows of each phrase, or of its equal parts that are no longer than `longest` rows."""
    start = 0
    for phrase in song.phrases:
        parts = -(-phrase.units * rows // longest)
        edges = start + np.linspace(0, phrase.units, parts + 1).round().astype(int)
        yield from ((int(a) * rows, int(b) * rows) for a, b in itertools.pairwise(edges))
        start += phrase.units


def made(
    level: Any, image: np.ndarray, segments: np.ndarray | None, known: np.ndarray, seed: int, place: int
) -> np.ndarray:
    """Generate one window `(front, time, pitch)`; the noise is a function of the seed and the position."""
    torch.manual_seed(number_of(seed, level.layout.title, place))
    batch = {"image": torch.from_numpy(image)[None].float(), "key": [""]}
    if segments is not None and level.layout.segments:
        batch["segments"] = torch.from_numpy(segments)[None]
    front = torch.from_numpy(known)[None]
    return level.fill(batch, front, torch.randn_like(front))[0].numpy()


def number_of(*position: Any) -> int:
    """Return a seed for torch that is a hash of its arguments."""
    return int.from_bytes(hashlib.sha256(repr(position).encode()).digest()[:8], "little") >> 1
