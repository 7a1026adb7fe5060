"""Changing the sample rate."""

import functools
import math

import numpy as np
import torch
import torchaudio

# Source samples (of the lower rate) on either side that a sample of the result depends on.
FILTER_WIDTH = 64


def resample(audio: np.ndarray, source: int, target: int) -> np.ndarray:
    """Resample float32 audio (time,) from one rate in Hz to another: windowed sinc, Kaiser window, 64 zero crossings.

    The result has `ceil(time * target / source)` samples.
    """
    if source == target:
        return audio
    with torch.inference_mode():
        return _resampler(source, target)(torch.from_numpy(np.ascontiguousarray(audio, np.float32))).numpy()


def source_window(start: int, count: int, samples: int, source: int, target: int) -> tuple[int, int, int]:
    """Return what to read, so that a stretch of the resampled whole can be had without resampling the whole.

    Args:
        start: First sample wanted, at the target rate.
        count: Samples wanted.
        samples: Of the whole, at the source rate.
        source: Hz.
        target: Hz.

    Returns:
        `(begin, end, skip)`: of `resample(whole[begin:end])` the stretch is `[skip : skip + count]`.
    """
    divisor = math.gcd(source, target)
    step_in, step_out = source // divisor, target // divisor
    # Begin on a multiple of the ratio, where old and new samples coincide, and as early as the filter reaches.
    margin = -(-FILTER_WIDTH * max(source, target) // min(source, target) // step_in) + 1
    first = max(start // step_out - margin, 0)
    last = -(-(start + count) // step_out) + margin
    return first * step_in, min(last * step_in, samples), start - first * step_out


def resampled_length(samples: int, source: int, target: int) -> int:
    """Return how many samples `resample` makes of so many."""
    return -(-samples * target // source)


@functools.lru_cache(maxsize=16)
def _resampler(source: int, target: int) -> torchaudio.transforms.Resample:
    return torchaudio.transforms.Resample(
        source,
        target,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=FILTER_WIDTH,
        # "Kaiser best" of resampy: -1 dB at 0.93 of the Nyquist frequency, aliases under -100 dB.
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
