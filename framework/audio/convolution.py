"""Convolution by FFTs of an efficient length."""

import scipy.fft
import torch
from torch import Tensor

from framework.audio.checks import check_shape
from framework.audio.envelopes import full_precision
from framework.errors import InvalidValueError


def convolve(audio: Tensor, response: Tensor) -> Tensor:
    """Convolve `(..., time)` with `(..., taps)` in full: `(..., time + taps - 1)`; leading dimensions broadcast.

    Raises:
        InvalidValueError: either is empty, or their leading dimensions do not fit each other.
    """
    check_shape("audio", audio, "...", "time")
    check_shape("response", response, "...", "taps")
    leading = zip(reversed(audio.shape[:-1]), reversed(response.shape[:-1]), strict=False)
    if any(one != other and 1 not in (one, other) for one, other in leading):
        raise InvalidValueError(
            f"audio of shape {tuple(audio.shape)} and response of shape {tuple(response.shape)}: give one response for "
            "all, or one for each"
        )
    length = audio.shape[-1] + response.shape[-1] - 1
    size = scipy.fft.next_fast_len(length, real=True)
    spectrum = torch.fft.rfft(full_precision(audio), size) * torch.fft.rfft(full_precision(response), size)
    return torch.fft.irfft(spectrum, size)[..., :length]
