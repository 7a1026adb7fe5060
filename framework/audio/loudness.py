"""A-weighted loudness of each frame, which DDSP is conditioned on next to f0."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from framework.audio.checks import check_real, check_shape
from framework.audio.envelopes import full_precision
from framework.errors import InvalidValueError


def a_weighting(frequencies: Tensor) -> Tensor:
    """Return the A-weighting (dB) of frequencies (Hz): IEC 61672-1, annex E; at least -80 dB, as librosa limits it."""
    check_real("frequencies", frequencies)
    squared = frequencies.double().square()
    poles = torch.tensor([20.598997, 107.65265, 737.86223, 12194.217], dtype=torch.float64).square().tolist()
    ratio = (
        poles[3]
        * squared.square()
        / ((squared + poles[0]) * ((squared + poles[1]) * (squared + poles[2])).sqrt() * (squared + poles[3]))
    )
    return (2.0 + 20 * torch.log10(ratio)).clamp(min=-80.0)


def loudness(audio: Tensor, sample_rate: int, hop_length: int, n_fft: int = 512, span: float = 80.0) -> Tensor:
    """Return the loudness (dB) of audio as the official code computes it.

    A-weighted power, averaged over the bins of a Hann window; 0 dB is a mean power of one.

    Args:
        audio: `(batch, 1, time)`.
        sample_rate: Hz.
        hop_length: Samples between two frames.
        n_fft: Length of the window (samples).
        span: dB below zero at which loudness ends: silence is `-span`.

    Returns:
        Loudness `(batch, time // hop_length + 1)`; frame k is centred on sample `k * hop_length`, and what lies
        outside of the audio is silence.

    Raises:
        InvalidValueError: the audio is not mono, or empty.
    """
    check_shape("audio", audio, "batch", 1, "time")
    spectrum = _spectrum(pad(full_precision(audio), (n_fft // 2, n_fft // 2)), n_fft, hop_length)
    weights = (10 ** (_weighting(sample_rate, n_fft, audio) / 10)).to(spectrum.real.dtype)
    power = ((spectrum.real.square() + spectrum.imag.square()) * weights[:, None]).mean(1)
    return 10 * torch.log10(power.clamp(min=10 ** (-span / 10)))


def log_magnitude_loudness(audio: Tensor, sample_rate: int, hop_length: int, n_fft: int = 2048) -> Tensor:
    """Return the loudness of audio as ddsp_pytorch computes it, before it is normalised over the data set.

    The mean over the bins of `ln(|S| + 1e-7)` plus the A-weighting in dB: two units in a sum, but what its networks
    were trained with.

    Args:
        audio: `(batch, 1, time)`, more than `n_fft / 2` samples: it is reflected at its ends, as by librosa 0.8.
        sample_rate: Hz.
        hop_length: Samples between two frames.
        n_fft: Length of the Hann window (samples).

    Returns:
        Loudness `(batch, time // hop_length)`; frame k is centred on sample `k * hop_length`.

    Raises:
        InvalidValueError: the audio is not mono, or too short.
    """
    check_shape("audio", audio, "batch", 1, "time")
    if audio.shape[-1] <= n_fft // 2:
        raise InvalidValueError(
            f"audio of {audio.shape[-1]} samples: its loudness reflects {n_fft // 2} at each end; give a longer clip"
        )
    padded = pad(full_precision(audio), (n_fft // 2, n_fft // 2), mode="reflect")
    magnitude = _spectrum(padded, n_fft, hop_length).abs()
    weights = _weighting(sample_rate, n_fft, audio).to(magnitude.dtype)
    values = (magnitude + 1e-7).log().mean(1) + weights.mean()
    return values[:, : audio.shape[-1] // hop_length]


def scale_loudness(decibels: Tensor, span: float = 80.0) -> Tensor:
    """Map loudness from `-span` ... 0 dB to 0 ... 1, the official network's input."""
    return full_precision(decibels) / span + 1


def scale_f0(f0: Tensor) -> Tensor:
    """Map f0 (Hz) to MIDI note numbers over 127, the official network's input; 0 Hz, unvoiced, to 0."""
    f0 = full_precision(f0)
    unvoiced = f0 <= 0
    notes = 69 + 12 * torch.log2(torch.where(unvoiced, 1.0, f0) / 440)
    return torch.where(unvoiced, 0.0, notes) / 127


def _spectrum(audio: Tensor, n_fft: int, hop_length: int) -> Tensor:
    window = torch.hann_window(n_fft, device=audio.device, dtype=audio.dtype)
    return torch.stft(audio[:, 0], n_fft, hop_length, window=window, center=False, return_complex=True)


def _weighting(sample_rate: int, n_fft: int, audio: Tensor) -> Tensor:
    frequencies = torch.arange(n_fft // 2 + 1, dtype=torch.float64) * (sample_rate / n_fft)
    return a_weighting(frequencies).to(audio.device)
