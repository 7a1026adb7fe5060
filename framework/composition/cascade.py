"""A whole piece out of trained levels: form first, then each level around what is there (Wang et al., 2024, 4.3)."""

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
    """Return a form that a trained level writes; of wanted phrases, it writes the keys.

    Raises:
        ValueError: there is no song in what it has written.
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
    """Return wanted phrases with the keys that a form's image shows."""
    phrases, start = [], 0
    for phrase in wanted:
        inside = front[:2, start : start + phrase.units, :12].sum(1)
        phrases.append(phrase._replace(tonic=int(inside[0].argmax()), scale=best_scale(inside[1])))
        start += phrase.units
    return tuple(phrases)


def write_level(level: Any, song: Song, seed: int) -> Song:
    """Return the song with what a trained level makes of it: stretch by stretch, around what is already there.

    A stretch is a phrase, or part of one longer than half a window. The window begins half a window before it, so
    that what has been made is inpainted around; earlier stretches of the same letters are looked back at. A phrase
    whose letter has been before with the same length is given the melody that the level made then.
    """
    layout: Layout = level.layout
    image, rows = layout.image(song), layout.rows(song)
    canvas = image[: layout.front].copy()
    cuts = list(stretches(song, rows, layout.window // 2))
    for begin, end in progress(cuts, f"writing {layout.title}", unit="stretches"):
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
        # What is written is notes: the next stretch is to see them as it saw those of the data.
        written = layout.image(layout.completed(song, canvas))[: layout.front]
        canvas[:, :end] = written[:, :end]
    return layout.completed(song, canvas)


def stretches(song: Song, rows: int, longest: int) -> Iterator[tuple[int, int]]:
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
    """Return what a level makes of one window `(front, time, pitch)`; its noise is a function of seed and place."""
    torch.manual_seed(number_of(seed, level.layout.title, place))
    batch = {"image": torch.from_numpy(image)[None].float(), "key": [""]}
    if segments is not None and level.layout.segments:
        batch["segments"] = torch.from_numpy(segments)[None]
    front = torch.from_numpy(known)[None]
    return level.fill(batch, front, torch.randn_like(front))[0].numpy()


def number_of(*position: Any) -> int:
    """Return a seed for torch that is a function of a position."""
    return int.from_bytes(hashlib.sha256(repr(position).encode()).digest()[:8], "little") >> 1
