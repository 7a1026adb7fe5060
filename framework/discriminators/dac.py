"""Discriminators of the Descript Audio Codec (Kumar et al., 2023, section 3.4): multi-period and multi-band STFT."""

import re
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.annotations import PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput, collect
from framework.discriminators.multi_period import PeriodDiscriminator
from framework.discriminators.multi_resolution import BandSplitResolutionDiscriminator

BANDS = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0))


class PaddedPeriodDiscriminator(PeriodDiscriminator):
    """HiFi-GAN's; a length that is a multiple of the period is padded by a full period, as in the official code."""

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map audio `(batch, 1, time)` to logits `(batch, n)` and maps `(batch, channels, time, period)`."""
        return super().forward(pad(audio, (0, self.period - audio.shape[-1] % self.period), mode="reflect"))


class StrideMatchedResolutionDiscriminator(BandSplitResolutionDiscriminator):
    """A band-split discriminator of `ceil(time / hop)` frames that also returns the first feature map of each band."""

    first_map: ClassVar[int] = 0

    def spectrum(self, audio: Tensor) -> Tensor:
        """Return the spectrum `(batch, 2, frames, bins)` of audio `(batch, 1, time)`."""
        hop = self.n_fft // 4
        edge = (self.n_fft - hop) // 2
        with torch.autocast(audio.device.type, enabled=False):
            padded = pad(audio.float(), (edge, edge - audio.shape[-1] % -hop), mode="reflect").squeeze(1)
            spectrum = torch.stft(padded, self.n_fft, hop, window=self.window, return_complex=True)
            # The first two and the last two frames are centred outside of the audio.
            return torch.view_as_real(spectrum[..., 2:-2]).permute(0, 3, 2, 1)


class DACDiscriminator(Discriminator):
    """Multi-period and multi-band multi-resolution discriminators; audio is first shifted to zero mean and peak 0.8.

    Args:
        periods: The periods of the multi-period discriminators (samples).
        fft_sizes: Window lengths of the multi-resolution discriminators (samples); the hop is a quarter.
        bands: Lower and upper edges of the frequency bands, as fractions of the Nyquist frequency.
        period_channels: Width of each convolution over periods.
        channels: Width of the convolutions over spectra.
    """

    @checked
    def __init__(
        self,
        periods: Sequence[PositiveInt] = (2, 3, 5, 7, 11),
        fft_sizes: Sequence[PositiveInt] = (2048, 1024, 512),
        bands: Sequence[tuple[float, float]] = BANDS,
        period_channels: Sequence[PositiveInt] = (32, 128, 512, 1024, 1024),
        channels: PositiveInt = 32,
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(
            [
                *(PaddedPeriodDiscriminator(period, period_channels, 5, 3, 0.1) for period in periods),
                *(StrideMatchedResolutionDiscriminator(n_fft, bands, channels) for n_fft in fft_sizes),
            ]
        )

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return logits and feature maps of audio `(batch, 1, time)` at each period and resolution."""
        audio = audio - audio.mean(-1, keepdim=True)
        audio = 0.8 * audio / (audio.abs().amax(-1, keepdim=True) + 1e-9)
        return collect(discriminator(audio) for discriminator in self.discriminators)

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict."""
        return re.sub(r"(convs(?:\.\d+)+)\.0\.(bias|weight)", r"\1.\2", name)
