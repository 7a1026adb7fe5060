"""Discriminators of spectrograms at several resolutions (UnivNet: Jang et al., 2021; Vocos: Siuzdak, 2024)."""

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from framework.annotations import NonNegativeFloat, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput, collect, normed_conv2d


class ResolutionDiscriminator(nn.Module):
    """Convolves the STFT magnitudes of one resolution as an image with one channel."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, win_length: int, channels: int, slope: float) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.win_length = n_fft, hop_length, win_length
        self.slope = slope
        # The official code passes no window, so PyTorch uses a rectangular one.
        self.register_buffer("window", torch.ones(win_length), persistent=False)
        self.convs = spectrogram_convs(1, channels)
        self.conv_post = normed_conv2d(channels, 1, (3, 3), padding=(1, 1))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map audio `(batch, 1, time)` to logits `(batch, n)` and maps `(batch, channels, bins, frames)`."""
        hidden, features = self.magnitude(audio).unsqueeze(1), []
        for conv in self.convs:
            hidden = leaky_relu(conv(hidden), self.slope)
            features.append(hidden)
        return self.conv_post(hidden).flatten(1), features

    def magnitude(self, audio: Tensor) -> Tensor:
        """Return magnitudes `(batch, bins, frames)` of audio `(batch, 1, time)`; gradients are finite on silence."""
        edge = (self.n_fft - self.hop_length) // 2
        with torch.autocast(audio.device.type, enabled=False):
            padded = pad(audio.float(), (edge, edge), mode="reflect").squeeze(1)
            return torch.stft(
                padded, self.n_fft, self.hop_length, self.win_length, self.window, center=False, return_complex=True
            ).abs()


class MultiResolutionDiscriminator(Discriminator):
    """UnivNet's discriminator of STFT magnitudes at several resolutions; BigVGAN uses it with `slope=0.1`.

    Args:
        resolutions: `(n_fft, hop length, window length)` of each sub-discriminator (samples).
        channels: Width of the convolutions.
        slope: Negative slope of the leaky ReLU.
    """

    @checked
    def __init__(
        self,
        resolutions: Sequence[tuple[PositiveInt, PositiveInt, PositiveInt]] = (
            (1024, 120, 600),
            (2048, 240, 1200),
            (512, 50, 240),
        ),
        channels: PositiveInt = 32,
        slope: NonNegativeFloat = 0.2,
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(
            ResolutionDiscriminator(*resolution, channels, slope) for resolution in resolutions
        )

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return logits and feature maps of audio `(batch, 1, time)` at each resolution."""
        return collect(discriminator(audio) for discriminator in self.discriminators)


class BandSplitResolutionDiscriminator(nn.Module):
    """Convolves the complex spectrum of one resolution, with separate convolutions for each frequency band."""

    first_map: ClassVar[int] = 1
    """Index of the first feature map of a band that is returned: Vocos's official code leaves out map 0."""
    window: Tensor

    def __init__(self, n_fft: int, bands: Sequence[tuple[float, float]], channels: int) -> None:
        super().__init__()
        self.n_fft = n_fft
        bins = n_fft // 2 + 1
        self.bands = [(int(low * bins), int(high * bins)) for low, high in bands]
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.band_convs = nn.ModuleList(spectrogram_convs(2, channels) for _ in bands)
        self.conv_post = normed_conv2d(channels, 1, (3, 3), padding=(1, 1))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map audio `(batch, 1, time)` to logits `(batch, 1, frames, n)` and maps `(batch, channels, frames, bins)`."""
        spectrum = self.spectrum(audio)
        ends: list[Tensor] = []
        features: list[Tensor] = []
        for (low, high), convs in zip(self.bands, self.band_convs, strict=True):
            hidden = spectrum[..., low:high]
            for index, conv in enumerate(cast(nn.ModuleList, convs)):
                hidden = leaky_relu(conv(hidden), 0.1)
                if index >= self.first_map:
                    features.append(hidden)
            ends.append(hidden)
        return self.conv_post(torch.cat(ends, dim=-1)), features

    def spectrum(self, audio: Tensor) -> Tensor:
        """Scale audio `(batch, 1, time)` to zero mean and peak 0.8; return its spectrum `(batch, 2, frames, bins)`."""
        with torch.autocast(audio.device.type, enabled=False):
            audio = audio.float().squeeze(1)
            audio = audio - audio.mean(-1, keepdim=True)
            audio = 0.8 * audio / (audio.abs().amax(-1, keepdim=True) + 1e-9)
            spectrum = torch.stft(audio, self.n_fft, self.n_fft // 4, window=self.window, return_complex=True)
            return torch.view_as_real(spectrum).permute(0, 3, 2, 1)


class BandSplitDiscriminator(Discriminator):
    """Vocos's discriminator of complex spectra split into bands, after the Descript Audio Codec's (Kumar et al., 2023).

    Args:
        fft_sizes: Window lengths (samples); the hop is a quarter of the window.
        bands: Lower and upper edges of the frequency bands, as fractions of the Nyquist frequency.
        channels: Width of the convolutions.
    """

    @checked
    def __init__(
        self,
        fft_sizes: Sequence[PositiveInt] = (2048, 1024, 512),
        bands: Sequence[tuple[float, float]] = ((0.0, 0.1), (0.1, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)),
        channels: PositiveInt = 32,
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(
            BandSplitResolutionDiscriminator(n_fft, bands, channels) for n_fft in fft_sizes
        )

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return logits and feature maps of audio `(batch, 1, time)` at each resolution."""
        return collect(discriminator(audio) for discriminator in self.discriminators)

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict to one of this network."""
        return name.replace("spec_fn.window", "window")


def spectrogram_convs(inputs: int, channels: int) -> nn.ModuleList:
    """Return the five convolutions over a spectrogram; three of them halve the last axis."""
    shapes = [
        (inputs, (3, 9), 1),
        (channels, (3, 9), 2),
        (channels, (3, 9), 2),
        (channels, (3, 9), 2),
        (channels, (3, 3), 1),
    ]
    return nn.ModuleList(
        normed_conv2d(i, channels, kernel, (1, stride), padding=(kernel[0] // 2, kernel[1] // 2))
        for i, kernel, stride in shapes
    )
