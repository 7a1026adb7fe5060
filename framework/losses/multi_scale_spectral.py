"""Multi-scale spectral loss (DDSP: Engel et al., 2020, section 4.2.1)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, pad

from framework.annotations import NonNegativeFloat, PositiveInt, Range
from framework.audio.envelopes import full_precision
from framework.checks import checked


class MultiScaleSpectralLoss(nn.Module):
    """L1 distance of magnitude spectrograms plus that of their logarithms, summed over window lengths (official code).

    The first window starts at the first sample; the last windows are zero-padded at the end. The logarithm has no lower
    bound: only magnitudes of exactly zero are replaced by 1e-5.

    Args:
        sizes: Lengths of the Hann windows and transforms (samples).
        overlap: Fraction of a window that the next window overlaps.
        log_magnitude_weight: Weight of the distance of logarithms (alpha).
    """

    @checked
    def __init__(
        self,
        sizes: Sequence[PositiveInt] = (2048, 1024, 512, 256, 128, 64),
        overlap: Annotated[float, Range(0, below=1)] = 0.75,
        log_magnitude_weight: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__()
        self.sizes, self.overlap, self.log_magnitude_weight = tuple(sizes), overlap, log_magnitude_weight

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the unweighted loss of audio `(batch, 1, time)`, computed in float32 also inside autocast."""
        with torch.autocast(fake.device.type, enabled=False):
            fake, real = _audible(fake), _audible(real.detach())
            return torch.stack([self.distance(fake, real, size) for size in self.sizes]).sum()

    def distance(self, fake: Tensor, real: Tensor, size: int) -> Tensor:
        """Return the distance of audio `(batch, time)` at one window length."""
        fake, real = self.magnitudes(fake, size), self.magnitudes(real, size)
        return l1_loss(fake, real) + self.log_magnitude_weight * l1_loss(self.logarithm(fake), self.logarithm(real))

    def magnitudes(self, audio: Tensor, size: int) -> Tensor:
        """Return the magnitude spectrogram `(batch, bins, frames)`."""
        hop_length = int(size * (1 - self.overlap))
        frames = -(-audio.shape[-1] // hop_length)
        padded = pad(audio, (0, (frames - 1) * hop_length + size - audio.shape[-1]))
        window = torch.hann_window(size, device=audio.device, dtype=audio.dtype)
        return torch.stft(padded, size, hop_length, window=window, center=False, return_complex=True).abs()

    def logarithm(self, magnitudes: Tensor) -> Tensor:
        """Return the logarithm of magnitudes."""
        return torch.where(magnitudes <= 0, 1e-5, magnitudes).log()


class CentredMultiScaleSpectralLoss(MultiScaleSpectralLoss):
    """The multi-scale spectral loss as ddsp_pytorch computes it.

    Windows are centred on multiples of the hop, with reflection padding. The spectrum is divided by the square root of
    the window length, and 1e-7 is added to magnitudes before the logarithm.

    Args:
        sizes: Lengths of the Hann windows and transforms (samples).
        overlap: Fraction of a window that the next window overlaps.
    """

    @checked
    def __init__(
        self,
        sizes: Sequence[PositiveInt] = (4096, 2048, 1024, 512, 256, 128),
        overlap: Annotated[float, Range(0, below=1)] = 0.75,
    ) -> None:
        super().__init__(sizes, overlap)

    def magnitudes(self, audio: Tensor, size: int) -> Tensor:
        """Return the magnitude spectrogram `(batch, bins, frames)`."""
        window = torch.hann_window(size, device=audio.device, dtype=audio.dtype)
        hop_length = int(size * (1 - self.overlap))
        return torch.stft(audio, size, hop_length, window=window, normalized=True, return_complex=True).abs()

    def logarithm(self, magnitudes: Tensor) -> Tensor:
        """Return the logarithm of magnitudes."""
        return (magnitudes + 1e-7).log()


def _audible(audio: Tensor) -> Tensor:
    """Return audio `(batch, 1, time)` as float32 `(batch, time)`, with samples below -400 dB set to zero.

    Spectra of such samples are subnormal numbers, whose gradients are not finite.
    """
    audio = full_precision(audio).squeeze(1)
    return audio * (audio.abs() > 1e-20)
