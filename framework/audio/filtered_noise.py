"""Noise with a time-varying filter (DDSP: Engel et al., 2020, sections 3.3 and B.7)."""

import torch
from torch import Tensor
from torch.nn.functional import fold, pad

from framework.audio.checks import check_at_least, check_shape
from framework.audio.convolution import convolve
from framework.audio.envelopes import full_precision
from framework.errors import InvalidValueError


def impulse_responses(magnitudes: Tensor, taps: int | None = None) -> Tensor:
    """Return linear-phase filters with given magnitudes, by frequency sampling and a Hann window (official code).

    Args:
        magnitudes: Gain `(batch, frames, bands)` at bands equally spaced from 0 Hz to half the sample rate.
        taps: Odd length of the filters; None, or more than there are, is all of the `2 * (bands - 1)`. The official
            code asks for 257 taps of 65 bands and so gets 128.

    Returns:
        Filters `(batch, frames, taps)`. Their peak is at `taps // 2` where nothing was cut off and, as in the official
        code, at `taps // 2 - 1` otherwise.

    Raises:
        InvalidValueError: there is but one band, or the filter is to be cut to an even number of taps.
    """
    check_shape("magnitudes", magnitudes, "...", "bands")
    if taps is not None:
        check_at_least("taps", taps, 1)
    if magnitudes.shape[-1] < 2:
        raise InvalidValueError(
            "a filter has a gain at 0 Hz and at half the sample rate: it needs 2 bands or more, not 1"
        )
    magnitudes = full_precision(magnitudes)
    response = torch.fft.fftshift(torch.fft.irfft(magnitudes + 0j), dim=-1)
    available = response.shape[-1]
    taps = available if taps is None else min(taps, available)
    # TensorFlow's windows of an odd length are symmetric, those of an even one periodic.
    window = torch.hann_window(taps, taps % 2 == 0, device=response.device, dtype=response.dtype)
    if taps == available:
        return response * window
    if taps % 2 == 0:
        raise InvalidValueError(f"a filter is cut to an odd number of taps, not {taps}")
    start = available // 2 - (taps // 2 - 1)
    return response[..., start : start + taps] * pad(window[2:], (0, 2))


def filter_frames(audio: Tensor, responses: Tensor) -> Tensor:
    """Filter each frame of audio by its own response and add the tails to the frames after (official code).

    Args:
        audio: `(batch, 1, time)`; the frames are equal shares of it.
        responses: Filters `(batch, frames, taps)` of `impulse_responses`.

    Returns:
        Audio `(batch, 1, time)`. As in the official code `(taps - 1) // 2 - 1` samples are cut from its start, which
        leaves it two samples late where the taps are even.

    Raises:
        InvalidValueError: the time is no multiple of the frames.
    """
    check_shape("audio", audio, "batch", 1, "time")
    check_shape("filters", responses, len(audio), "frames", "taps")
    batch, _, time = audio.shape
    frames, taps = responses.shape[1:]
    if time % frames:
        raise InvalidValueError(f"{time} samples cannot be cut into {frames} equal frames")
    hop_length = time // frames
    filtered = convolve(audio.reshape(batch, frames, hop_length), responses)
    total = time + taps - 1
    summed = fold(filtered.mT, (1, total), (1, filtered.shape[-1]), stride=(1, hop_length))
    delay = max(0, (taps - 1) // 2 - 1)
    return pad(summed, (0, delay))[:, :, 0, delay : delay + time]


def filter_blocks(audio: Tensor, magnitudes: Tensor) -> Tensor:
    """Filter each frame of audio alone, without tails (ddsp_pytorch).

    The filter is centred on the frame's first sample. Its part before the frame wraps around to the frame's end, as in
    a circular convolution, so mainly the causal half of the filter contributes to the output.

    Args:
        audio: `(batch, 1, time)`; the frames are equal shares of it.
        magnitudes: Gain `(batch, frames, bands)` of each frame; a frame must be as long as its filter,
            `2 * (bands - 1)` samples.

    Returns:
        Audio `(batch, 1, time)`.

    Raises:
        InvalidValueError: the time is no multiple of the frames, or a frame is shorter than its filter.
    """
    check_shape("audio", audio, "batch", 1, "time")
    check_shape("magnitudes", magnitudes, len(audio), "frames", "bands")
    responses = impulse_responses(magnitudes)
    frames, taps = responses.shape[1:]
    hop_length = audio.shape[-1] // frames
    if audio.shape[-1] % frames or hop_length < taps:
        raise InvalidValueError(
            f"{audio.shape[-1]} samples cannot be cut into {frames} frames of at least {taps} samples"
        )
    responses = torch.roll(pad(responses, (0, hop_length - taps)), -(taps // 2), -1)
    filtered = convolve(audio.reshape(len(audio), frames, hop_length), responses)[..., :hop_length]
    return filtered.reshape(audio.shape)


def uniform_noise(magnitudes: Tensor, hop_length: int) -> Tensor:
    """Return noise in [-1, 1) `(batch, 1, frames * hop_length)` for magnitudes `(batch, frames, bands)`.

    Raises:
        InvalidValueError: the magnitudes have another shape, or a hop has no sample.
    """
    check_shape("magnitudes", magnitudes, "batch", "frames", "bands")
    check_at_least("hop_length", hop_length, 1)
    batch, frames, _ = magnitudes.shape
    return torch.rand(batch, 1, frames * hop_length, device=magnitudes.device) * 2 - 1
