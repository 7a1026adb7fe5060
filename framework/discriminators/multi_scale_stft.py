"""Multi-scale STFT discriminator (EnCodec: Défossez et al., 2023, section 3.4)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from framework.annotations import PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput, collect, normed_conv2d

SLOPE = 0.2


class STFTDiscriminator(nn.Module):
    """Convolves the complex spectrum of one window length, with growing dilations in time.

    Args:
        n_fft: Length of the transform and its window (samples); the hop is a quarter of it.
        channels: Width of the convolutions.
        dilations: Dilations along time of the convolutions that halve the frequency axis.
    """

    window: Tensor

    def __init__(self, n_fft: int, channels: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        # The official code does not normalise the first convolution.
        self.convs = nn.ModuleList([nn.Conv2d(2, channels, (3, 9), padding=(1, 4))])
        for dilation in dilations:
            shape = {"stride": (1, 2), "dilation": (dilation, 1), "padding": (dilation, 4)}
            self.convs.append(normed_conv2d(channels, channels, (3, 9), **shape))
        self.convs.append(normed_conv2d(channels, channels, (3, 3), padding=(1, 1)))
        self.conv_post = normed_conv2d(channels, 1, (3, 3), padding=(1, 1))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map audio `(batch, 1, time)` to logits `(batch, 1, frames, n)` and maps `(batch, channels, frames, bins)`."""
        hidden, features = self.spectrum(audio), []
        for conv in self.convs:
            hidden = leaky_relu(conv(hidden), SLOPE)
            features.append(hidden)
        return self.conv_post(hidden), features

    def spectrum(self, audio: Tensor) -> Tensor:
        """Return the spectrum `(batch, 2, frames, bins)`, normalised by the window's energy."""
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = torch.stft(
                audio.float().squeeze(1),
                self.n_fft,
                self.n_fft // 4,
                window=self.window,
                center=False,
                return_complex=True,
            )
            return torch.view_as_real(spectrum / self.window.square().sum().sqrt()).permute(0, 3, 2, 1)


class MultiScaleSTFTDiscriminator(Discriminator):
    """One sub-discriminator for each of several window lengths.

    Args:
        fft_sizes: Window lengths (samples).
        channels: Width of the convolutions.
        dilations: Dilations along time of the convolutions that halve the frequency axis.
    """

    @checked
    def __init__(
        self,
        fft_sizes: Sequence[PositiveInt] = (1024, 2048, 512),
        channels: PositiveInt = 32,
        dilations: Sequence[PositiveInt] = (1, 2, 4),
    ) -> None:
        super().__init__()
        self.discriminators = nn.ModuleList(STFTDiscriminator(n_fft, channels, dilations) for n_fft in fft_sizes)

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return logits and feature maps of audio `(batch, 1, time)` at each window length."""
        return collect(discriminator(audio) for discriminator in self.discriminators)

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict."""
        return name.replace("spec_transform.window", "window").replace(".conv.", ".")
