"""Multi-scale mel losses (DAC: Kumar et al., 2023, section 3.5; EnCodec: Défossez et al., 2023)."""

import warnings
from collections.abc import Sequence

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from framework.annotations import PositiveInt
from framework.checks import check_lengths, checked

FLOOR = 1e-5
"""Lower bound of magnitudes before the logarithm."""


class MultiScaleMelLoss(nn.Module):
    """L1 distance of log10 mel spectrograms, summed over window lengths (DAC).

    Short windows have more mel bands than bins; bands that contain no bin are empty, as in the official code.

    Args:
        sample_rate: Hz.
        sizes: Lengths of the Hann windows (samples); the hop is a quarter of the window.
        n_mels: Number of mel bands for each window length.
    """

    @checked
    def __init__(
        self,
        sample_rate: PositiveInt,
        sizes: Sequence[PositiveInt] = (32, 64, 128, 256, 512, 1024, 2048),
        n_mels: Sequence[PositiveInt] = (5, 10, 20, 40, 80, 160, 320),
    ) -> None:
        super().__init__()
        check_lengths(sizes=sizes, n_mels=n_mels)
        self.sizes = tuple(sizes)
        for size, bands in zip(sizes, n_mels, strict=True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                filters = torchaudio.functional.melscale_fbanks(
                    size // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, "slaney", "slaney"
                )
            self.register_buffer(f"filters_{size}", filters.T.contiguous(), persistent=False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the unweighted loss of audio `(batch, 1, time)`, computed in float32 also inside autocast."""
        with torch.autocast(fake.device.type, enabled=False):
            pairs = [(self.mel(fake, size), self.mel(real.detach(), size)) for size in self.sizes]
            return torch.stack([self.distance(f, r) for f, r in pairs]).sum()

    def mel(self, audio: Tensor, size: int) -> Tensor:
        """Return magnitudes in mel bands `(batch, mels, frames)`."""
        window = torch.hann_window(size, device=audio.device)
        spectrum = torch.stft(audio.float().squeeze(1), size, size // 4, window=window, return_complex=True)
        return self.get_buffer(f"filters_{size}") @ spectrum.abs()

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the distance of mel magnitudes at one window length."""
        return l1_loss(fake.clamp(FLOOR).log10(), real.clamp(FLOOR).log10())


class EncodecMelLoss(MultiScaleMelLoss):
    """L1 and L2 distances of 64-band mel spectrograms, averaged over windows of 2^5 to 2^11 samples (equation 1)."""

    @checked
    def __init__(self, sample_rate: PositiveInt) -> None:
        sizes = [2**power for power in range(5, 12)]
        super().__init__(sample_rate, sizes, [64] * len(sizes))

    def mel(self, audio: Tensor, size: int) -> Tensor:
        """Return mel magnitudes `(batch, mels, frames)` of spectra divided by the norm of the window."""
        # The energy of a Hann window is 3/8 of its length.
        return super().mel(audio, size) / (0.375 * size) ** 0.5

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the distance of mel magnitudes at one window length, divided by the number of window lengths."""
        return (l1_loss(fake, real) + mse_loss(fake, real)) / len(self.sizes)
