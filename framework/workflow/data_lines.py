"""Describing a data set in lines of text, with histograms of lengths and levels."""

from collections.abc import Iterator

import numpy as np

from datamodules.packing.recordings import Skipped
from datamodules.report import Report

_LISTED = 10
_BAR = 30


def lines(path: str, found: Report) -> Iterator[str]:
    """Yield the lines that describe a data set."""
    yield f"{path}: {found.kind}"
    for split, clips in found.clips.items():
        yield f"{split:12}{clips:9,} clips {found.hours[split]:9.2f} hours"
    rates = ", ".join(
        f"{rate:,} Hz" + (f" ({clips:,} clips)" if len(found.sample_rates) > 1 else "")
        for rate, clips in found.sample_rates.most_common()
    )
    yield f"{'rate':12}{rates or 'unknown'}"
    yield f"{'hash':12}{found.hash or 'known when all of it is packed and here'}"
    yield f"{'licence':12}{found.licence or 'not stated'}"
    cut = [entry for entry in found.left_out if entry.kept]
    left_out = [entry for entry in found.left_out if not entry.kept]
    yield f"{'left out':12}{len(left_out) or 'nothing'}"
    yield from _listed(left_out)
    if cut:
        yield f"{'cut short':12}{len(cut)}, used up to there"
        yield from _listed(cut)
    for message in found.ignored:
        yield f"{'ignored':12}{message}"
    if len(found.seconds):
        yield ""
        yield f"length of clips (s){', ' if found.note else ''}{found.note}"
        yield from histogram(found.seconds, _edges(found.seconds), 1 if found.seconds.max() < 20 else 0)
    for name, levels in (("peak", found.peaks), ("RMS", found.rms)):
        if len(levels):
            yield ""
            spread = f"median {np.median(levels):.1f}, from {levels.min():.1f} to {levels.max():.1f}"
            yield f"{name} (dB re full scale) of {len(levels):,} clips: {spread}"
            yield from histogram(levels, np.arange(-60 if levels.min() < -42 else -42, 1, 6.0), 0)


def _listed(entries: list[Skipped]) -> Iterator[str]:
    for entry in entries[:_LISTED]:
        yield f"  {entry.file}: {entry.reason}"
    if len(entries) > _LISTED:
        yield f"  and {len(entries) - _LISTED:,} more"


def histogram(values: np.ndarray, edges: np.ndarray, digits: int) -> Iterator[str]:
    """Yield a line and a bar for each bin; what lies outside of the edges is in the outer bins.

    Args:
        values: Any numbers (count,).
        edges: Ascending (bins + 1,).
        digits: Decimal places of the edges.
    """
    counts = np.histogram(np.clip(values, edges[0], edges[-1]), edges)[0]
    width = max(len(f"{edge:.{digits}f}") for edge in edges)
    for low, high, count in zip(edges, edges[1:], counts, strict=False):
        bar = "#" * (-(-int(count) * _BAR // max(int(counts.max()), 1)))
        yield f"  {low:{width}.{digits}f} .. {high:{width}.{digits}f} {count:9,} {bar}".rstrip()


def _edges(seconds: np.ndarray) -> np.ndarray:
    """Return about ten round edges from 0 to the greatest value."""
    longest = float(seconds.max())
    power = 10 ** np.floor(np.log10(max(longest, 0.1) / 10))
    step = next(s * power for s in (1, 2, 5, 10) if s * power * 12 >= longest)
    return np.arange(0, np.ceil(longest / step) + 1) * step
