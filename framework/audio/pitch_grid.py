"""Interpolates the stored pitch of a clip to the frames that a system needs."""

import numpy as np

from framework.audio.checks import check_at_least, check_real
from framework.errors import InvalidValueError

MIDI_NUMBERS = 128
FRAME_RATE = 100
"""Values per second of the f0 that is stored; value `k` is the pitch at `k / 100` seconds."""


def at_hops(stored: np.ndarray, frame_rate: float, sample_rate: int, start: int, frames: int, hop: int) -> np.ndarray:
    """Return the pitch of a segment on its own grid.

    Between two voiced values the pitch is interpolated, beside an unvoiced one it is that of the nearer.

    Args:
        stored: f0 of the whole clip (values,) in Hz, 0 where there is no pitch.
        frame_rate: Values per second.
        sample_rate: Hz of the segment.
        start: Where in the clip the segment begins, in samples.
        frames: Values wanted.
        hop: Samples between these.

    Returns:
        float32 (frames,) in Hz: value `k` at sample `start + k * hop`; 0 where there is no pitch, and behind the clip.

    Raises:
        InvalidValueError: the stored f0 is not one value after the other, or a rate, a hop or a number of frames is
            none.
    """
    if stored.ndim != 1:
        raise InvalidValueError(f"stored f0 of shape {stored.shape}: give the shape (values,)")
    check_real("stored f0", stored)
    for name, value, least in (("frames", frames, 0), ("hop", hop, 1), ("sample_rate", sample_rate, 1)):
        check_at_least(name, value, least)
    if not len(stored):
        return np.zeros(frames, np.float32)
    stored = stored.astype(np.float32) if stored.dtype.kind in "biu" else stored
    places = (start + hop * np.arange(frames)) * (frame_rate / sample_rate)
    last = len(stored) - 1
    before = np.minimum(places.astype(np.int64), last)
    after, nearest = np.minimum(before + 1, last), np.minimum(np.rint(places).astype(np.int64), last)
    low, high, part = stored[before], stored[after], places - before
    found = np.where((low > 0) & (high > 0), low + (high - low) * np.clip(part, 0, 1), stored[nearest])
    return np.where(places < len(stored), found, 0).astype(np.float32)
