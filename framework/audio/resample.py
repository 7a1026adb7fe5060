"""Resampling of recordings, segments and rendered audio.

It needs no PyTorch and computes in double precision, so that rendered and packed data are identical on all processors.
"""

import functools
import math
from collections.abc import Iterable, Iterator

import numpy as np

from framework.audio.checks import check_at_least, check_real, check_shape

ZERO_CROSSINGS = 64
"""Number of zero crossings of the filter on each side."""

# "Kaiser best" of resampy: -1.6 dB at 0.93 of the Nyquist frequency, aliases under -100 dB.
_ROLLOFF, _BETA = 0.9475937167399596, 14.769656459379492
_LARGEST_STEP = 2000  # samples
_BLOCK = 64  # samples at the target rate that are computed at a time, at least
_BLOCKS = 512  # at a time


def resample(audio: np.ndarray, source: int, target: int) -> np.ndarray:
    """Resample audio (..., time) from one rate in Hz to another: windowed sinc, Kaiser window, 64 zero crossings.

    The result is float32 and has `ceil(time * target / source)` samples. What comes before and behind is silence. Rates
    without a common measure, such as 44,101 Hz and 22,050 Hz, are taken for ones that have it: the pitch is off by less
    than a cent. At equal rates the audio itself is returned.

    Raises:
        InvalidValueError: the audio is empty, or a rate is less than 1 Hz.
    """
    check_shape("audio", audio, "...", "time")
    check_real("audio", audio)
    if source == target:
        return audio
    step_in, step_out = _steps(source, target)
    several = -(-_BLOCK // step_out)
    hop_in, hop_out = several * step_in, several * step_out
    matrix = _matrix(hop_in, hop_out)
    margin = (len(matrix) - hop_in) // 2
    length = resampled_length(audio.shape[-1], source, target)
    blocks = -(-length // hop_out)
    padded = np.zeros((*audio.shape[:-1], blocks * hop_in + 2 * margin))
    kept = min(audio.shape[-1], padded.shape[-1] - margin)
    padded[..., margin : margin + kept] = audio[..., :kept]
    windows = np.lib.stride_tricks.sliding_window_view(padded, len(matrix), axis=-1)[..., ::hop_in, :]
    found = np.empty((*audio.shape[:-1], blocks, hop_out), np.float32)
    for first in range(0, blocks, _BLOCKS):
        found[..., first : first + _BLOCKS, :] = windows[..., first : first + _BLOCKS, :] @ matrix
    return found.reshape(*audio.shape[:-1], -1)[..., :length]


def source_window(start: int, count: int, samples: int, source: int, target: int) -> tuple[int, int, int]:
    """Return what to read, so that a span of the resampled signal can be computed without resampling the whole.

    Args:
        start: First sample wanted, at the target rate.
        count: Samples wanted.
        samples: The samples of the whole, at the source rate.
        source: Hz.
        target: Hz.

    Returns:
        `(begin, end, skip)`: of `resample(whole[begin:end])` the span is `[skip : skip + count]`.
    """
    step_in, step_out = _steps(source, target)
    # Begin on a multiple of the ratio, where old and new samples coincide, and as early as the filter reaches.
    margin = -(-_reach(step_in, step_out) // step_in) + 1
    first = max(start // step_out - margin, 0)
    last = -(-(start + count) // step_out) + margin
    return first * step_in, min(last * step_in, samples), start - first * step_out


def resample_blocks(
    blocks: Iterable[np.ndarray], source: int, target: int, size: int = 1 << 18
) -> Iterator[np.ndarray]:
    """Resample audio that comes in blocks (time,), with no more in memory than a few of them.

    The result is that of `resample` on all of it, up to rounding, in pieces of `size` samples.
    """
    if source == target:
        yield from (block.copy() for block in blocks)
        return
    held, first = np.zeros(0, np.float32), 0  # the samples from number `first` on
    done, endless = 0, 1 << 62
    for block in blocks:
        held = np.concatenate([held, block])
        while True:
            begin, end, skip = source_window(done, size, endless, source, target)
            if end > first + len(held):
                break
            yield resample(held[begin - first : end - first], source, target)[skip : skip + size]
            done += size
        begin = min(source_window(done, size, endless, source, target)[0], first + len(held))
        held, first = held[begin - first :], begin
    samples = first + len(held)
    total = resampled_length(samples, source, target)
    while done < total:
        count = min(size, total - done)
        begin, end, skip = source_window(done, count, samples, source, target)
        yield resample(held[begin - first : end - first], source, target)[skip : skip + count]
        done += count


def resampled_length(samples: int, source: int, target: int) -> int:
    """Return how many samples `resample` makes of so many."""
    return -(-samples * target // source)


@functools.lru_cache(maxsize=64)
def _steps(source: int, target: int) -> tuple[int, int]:
    """Return after how many samples at either rate both have one at the same time."""
    check_at_least("source rate (Hz)", source, 1)
    check_at_least("target rate (Hz)", target, 1)
    shared = math.gcd(source, target)
    if source // shared <= _LARGEST_STEP:
        return source // shared, target // shared
    # Rather a little too high than too low a target: there must not be too few samples.
    steps = np.arange(1, _LARGEST_STEP + 1, dtype=np.int64)
    others = -(-steps * target // source)
    best = int(np.argmin(others / steps))
    return int(steps[best]), int(others[best])


def _reach(step_in: int, step_out: int) -> int:
    """Return how many source samples on either side a sample depends on."""
    return math.ceil(ZERO_CROSSINGS / (_ROLLOFF * min(1, step_out / step_in)))


@functools.lru_cache(maxsize=16)
def _matrix(hop_in: int, hop_out: int) -> np.ndarray:
    """Return what `hop_in` source samples and those around them are multiplied by to give `hop_out` others."""
    reach, cutoff = _reach(hop_in, hop_out), _ROLLOFF * min(1, hop_out / hop_in)
    time = np.arange(-reach, hop_in + reach)[:, None] - np.arange(hop_out) * hop_in / hop_out
    inside = np.maximum(1 - (time * cutoff / ZERO_CROSSINGS) ** 2, 0)
    window = np.where(inside > 0, np.i0(_BETA * np.sqrt(inside)) / np.i0(_BETA), 0)
    return cutoff * np.sinc(cutoff * time) * window
