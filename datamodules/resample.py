"""Changing the sample rate."""

import functools

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
