"""Convolution by Fourier transforms of a length they are fast at."""

import scipy.fft
import torch
from torch import Tensor

from framework.audio.envelopes import full_precision


def convolve(audio: Tensor, response: Tensor) -> Tensor:
    """Convolve `(..., time)` with `(..., taps)` in full: `(..., time + taps - 1)`; leading dimensions broadcast."""
    length = audio.shape[-1] + response.shape[-1] - 1
    size = scipy.fft.next_fast_len(length, real=True)
    spectrum = torch.fft.rfft(full_precision(audio), size) * torch.fft.rfft(full_precision(response), size)
    return torch.fft.irfft(spectrum, size)[..., :length]
