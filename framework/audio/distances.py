"""Distances between generated and true audio of the same clip, one value per clip.

Mel-conditioned systems are trained on the log-mel error, and a vocoder without learned weights can make it small by
construction. The STFT distance uses resolutions that none of them is conditioned on.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from framework.audio.mel import MelPreset, MelSpectrogram
from framework.errors import InvalidValueError

MOST_CONVERGENCE = 10.0
"""Bound of the spectral convergence: an error of 20 dB above the true audio."""
RESOLUTIONS = (512, 2048, 4096)
"""Transform lengths (samples) of the STFT distance: beside the 1024 of the mel front ends, never at it."""


def log_mel_error(fake: Tensor, real: Tensor, preset: MelPreset) -> float:
    """Return the mean over clips of `log_mel_errors`."""
    return log_mel_errors(fake, real, preset).mean().item()


@torch.no_grad()
def log_mel_errors(fake: Tensor, real: Tensor, preset: MelPreset) -> Tensor:
    """Return the mean absolute difference of natural-log mels of each clip.

    Bands and frames are the preset's; the logarithm is natural and floored at 1e-5 whatever the preset compresses with,
    so that systems of different conventions are on one scale: 0.1 is about 0.9 dB.

    Args:
        fake: Generated audio `(batch, 1, time)`.
        real: True audio `(batch, 1, time)`.
        preset: Mel convention whose bands are compared.

    Returns:
        One value per clip `(batch,)`.

    Raises:
        ValueError: if the shapes differ.
    """
    _same_shape(fake, real)
    natural = replace(preset, log="e", scale=1.0, shift=0.0, floor=1e-5, limits=None)
    front_end = MelSpectrogram(natural).to(real.device)
    return (front_end(fake) - front_end(real)).abs().mean(dim=(1, 2))


def stft_distance(fake: Tensor, real: Tensor) -> float:
    """Return the mean over clips of `stft_distances`."""
    return stft_distances(fake, real).mean().item()


@torch.no_grad()
def stft_distances(fake: Tensor, real: Tensor, resolutions: Sequence[int] = RESOLUTIONS) -> Tensor:
    """Return the multi-resolution STFT distance of each clip (Yamamoto et al., 2020, eq. 3 to 6).

    For magnitudes S of the true and F of the generated audio, both floored at sqrt(1e-7), with Hann windows of n
    samples and a hop of n/4, it is the mean over the resolutions n of

        min(||S - F|| / ||S||, 10)  +  mean |ln S - ln F|,

    spectral convergence and log magnitude error. It is 0 for equal audio; audio at half the amplitude has 0.5 + ln 2.
    The bound of 10, which is not in the paper, keeps the ratio meaningful where the true audio is almost silent.

    Args:
        fake: Generated audio `(batch, 1, time)`.
        real: True audio `(batch, 1, time)`.
        resolutions: Transform lengths n (samples).

    Returns:
        One value per clip `(batch,)`.

    Raises:
        ValueError: if the shapes differ.
    """
    _same_shape(fake, real)
    return torch.stack([_distance(fake, real, n) for n in resolutions]).mean(0)


def _distance(fake: Tensor, real: Tensor, n_fft: int) -> Tensor:
    generated, true = magnitudes(fake, n_fft), magnitudes(real, n_fft)
    convergence = (true - generated).norm(dim=(1, 2)) / true.norm(dim=(1, 2))
    return convergence.clamp(max=MOST_CONVERGENCE) + (true.log() - generated.log()).abs().mean(dim=(1, 2))


def magnitudes(audio: Tensor, n_fft: int) -> Tensor:
    """Return floored magnitudes `(batch, n_fft / 2 + 1, frames)`; zeros surround the clip, which may be short."""
    window = torch.hann_window(n_fft, device=audio.device)
    padded = nn.functional.pad(audio.float()[:, 0], (n_fft // 2, n_fft // 2))
    spectrum = torch.stft(padded, n_fft, n_fft // 4, n_fft, window, center=False, return_complex=True)
    return spectrum.abs().clamp(min=1e-7**0.5)


def _same_shape(fake: Tensor, real: Tensor) -> None:
    if fake.shape != real.shape or fake.dim() != 3 or fake.shape[1] != 1:
        shapes = f"{tuple(fake.shape)} and {tuple(real.shape)}"
        raise InvalidValueError(
            f"distances are between audio of one shape (batch, 1, time), not {shapes}: cut to one length"
        )
