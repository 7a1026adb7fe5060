"""UnivNet: a vocoder whose kernels are predicted for each frame of the mel (Jang et al., 2021)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.annotations import NonEmpty, NonNegativeFloat, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_resolution import MultiResolutionDiscriminator
from framework.errors import InvalidValueError
from framework.inference.layers import normed_conv, normed_upsampling
from framework.losses.stft import MultiResolutionSTFTLoss
from framework.paradigms.adversarial import Adversarial

SLOPE, KERNEL, HIDDEN = 0.2, 3, 64


class KernelPredictor(nn.Module):
    """Kernels and biases of location-variable convolutions, for each frame (Zeng et al., 2021, section 2.2).

    Args:
        n_mels: Mel bands of the input.
        channels: Number of input channels of the convolution; it has twice as many output channels.
        layers: Convolutions.
    """

    def __init__(self, n_mels: int, channels: int, layers: int) -> None:
        super().__init__()
        self.layers, self.channels = layers, channels
        self.input_conv = nn.Sequential(normed_conv(n_mels, HIDDEN, 5, padding=2), nn.LeakyReLU(SLOPE))
        self.residual_convs = nn.ModuleList(
            nn.Sequential(
                # Numbered as in official checkpoints, whose dropout of 0 comes first.
                nn.Identity(),
                normed_conv(HIDDEN, HIDDEN, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                normed_conv(HIDDEN, HIDDEN, 3, padding=1),
                nn.LeakyReLU(SLOPE),
            )
            for _ in range(3)
        )
        self.kernel_conv = normed_conv(HIDDEN, layers * channels * 2 * channels * KERNEL, 3, padding=1)
        self.bias_conv = normed_conv(HIDDEN, layers * 2 * channels, 3, padding=1)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return kernels `(layers, batch, frames, 2 * channels, channels * taps)` and biases, 1 wide."""
        hidden = self.input_conv(mel)
        for conv in self.residual_convs:
            hidden = hidden + conv(hidden)
        kernels = self.kernel_conv(hidden).unflatten(1, (self.layers, self.channels, 2 * self.channels, KERNEL))
        biases = self.bias_conv(hidden).unflatten(1, (self.layers, 2 * self.channels, 1))
        return kernels.permute(1, 0, 5, 3, 2, 4).flatten(4), biases.permute(1, 0, 4, 2, 3)


class Stage(nn.Module):
    """Upsamples, then convolves with the kernels of each frame and gates, after each of several dilated convolutions.

    Args:
        channels: Width.
        n_mels: Mel bands of the condition.
        rate: Factor of the upsampling.
        dilations: One for each convolution.
    """

    def __init__(self, channels: int, n_mels: int, rate: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.kernel_predictor = KernelPredictor(n_mels, channels, len(dilations))
        self.convt_pre = nn.Sequential(nn.LeakyReLU(SLOPE), normed_upsampling(channels, channels, rate))
        self.conv_blocks = nn.ModuleList(
            nn.Sequential(
                nn.LeakyReLU(SLOPE),
                normed_conv(channels, channels, KERNEL, padding=dilation * (KERNEL - 1) // 2, dilation=dilation),
                nn.LeakyReLU(SLOPE),
            )
            for dilation in dilations
        )

    def forward(self, hidden: Tensor, mel: Tensor) -> Tensor:
        """Transform `(batch, channels, time)` of a mel `(batch, mels, frames)`: `(batch, channels, time * rate)`."""
        hidden = self.convt_pre(hidden)
        for conv, kernel, bias in zip(self.conv_blocks, *self.kernel_predictor(mel), strict=True):
            gate, signal = location_variable(conv(hidden), kernel, bias).chunk(2, dim=1)
            hidden = hidden + gate.sigmoid() * signal.tanh()
        return hidden


def location_variable(hidden: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
    """Convolve each frame of `(batch, channels, frames * hop)` with its own kernel (equation 1 of Zeng et al.).

    Args:
        hidden: The signal, as if with silence around it.
        kernel: `(batch, frames, outputs, channels * taps)`.
        bias: `(batch, frames, outputs, 1)`.

    Returns:
        `(batch, outputs, frames * hop)`.
    """
    time = hidden.shape[-1]
    padded = pad(hidden, (KERNEL // 2, KERNEL // 2))
    shifted = torch.stack([padded[..., tap : tap + time] for tap in range(KERNEL)], dim=2)
    windows = shifted.unflatten(-1, (kernel.shape[1], -1)).permute(0, 3, 1, 2, 4).flatten(2, 3)
    return (kernel @ windows + bias).transpose(1, 2).flatten(2)


class UnivNetGenerator(nn.Module):
    """Generator of UnivNet (section 2.1): log-mel `(batch, mels, frames)` and noise -> audio `(batch, 1, time)`.

    Args:
        n_mels: Mel bands of the input.
        channels: Width: 16 or 32.
        noise: Channels of the noise.
        rates: Factor of each stage; their product is the hop length.
        dilations: The dilations of each stage's convolutions.
    """

    @checked
    def __init__(
        self,
        n_mels: PositiveInt = 100,
        channels: PositiveInt = 16,
        noise: PositiveInt = 64,
        rates: Sequence[PositiveInt] = (8, 8, 4),
        dilations: Sequence[PositiveInt] = (1, 3, 9, 27),
    ) -> None:
        super().__init__()
        self.hop_length, self.noise = math.prod(rates), noise
        self.conv_pre = normed_conv(noise, channels, 7, padding=3, padding_mode="reflect")
        self.res_stack = nn.ModuleList(Stage(channels, n_mels, rate, dilations) for rate in rates)
        conv_post = normed_conv(channels, 1, 7, padding=3, padding_mode="reflect")
        self.conv_post = nn.Sequential(nn.LeakyReLU(SLOPE), conv_post, nn.Tanh())

    def forward(self, mel: Tensor, noise: Tensor | None = None) -> Tensor:
        """Generate audio in [-1, 1]; the noise `(batch, noise, frames)` is drawn if it is not given.

        Raises:
            ValueError: so few frames that their edges cannot be reflected.
        """
        if mel.shape[-1] < 4:
            raise InvalidValueError(f"too few frames: the edges of 4 or more are reflected, not of {mel.shape[-1]}")
        if noise is None:
            noise = torch.randn(len(mel), self.noise, mel.shape[-1], device=mel.device)
        hidden = self.conv_pre(noise)
        for stage in self.res_stack:
            hidden = stage(hidden, mel)
        return self.conv_post(hidden)


class UnivNet(Adversarial):
    """UnivNet vocoder (Jang et al., 2021), by the official recipe; the defaults are UnivNet-c16's.

    Args:
        channels: Width of the generator.
        noise: Channels of the noise that it begins with.
        rates: Factor of each stage; their product is the mel's hop length.
        dilations: The dilations of each stage's convolutions.
        stft_weight: Weight of the multi-resolution STFT loss (equation 5).
        multi_period_weight: Weight of the multi-period discriminator's losses: the mean over all sub-discriminators.
        multi_resolution_weight: Weight of the multi-resolution discriminator's.
    """

    mel = "univnet_24k"
    learning_rate = 1e-4
    betas = (0.5, 0.9)
    learning_rate_decay = 1.0
    feature_matching_weight = 0.0
    channels: PositiveInt = 16
    noise: PositiveInt = 64
    rates: NonEmpty[PositiveInt] = (8, 8, 4)
    dilations: NonEmpty[PositiveInt] = (1, 3, 9, 27)
    stft_weight: NonNegativeFloat = 2.5
    multi_period_weight: NonNegativeFloat = 1 / 8
    multi_resolution_weight: NonNegativeFloat = 1 / 8

    def build_generator(self) -> UnivNetGenerator:
        return UnivNetGenerator(self.preset.n_mels, self.channels, self.noise, self.rates, self.dilations)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {
            "multi_period": MultiPeriodDiscriminator(channels=(64, 128, 256, 512, 1024), slope=0.2),
            "multi_resolution": MultiResolutionDiscriminator(),
        }

    def build_losses(self) -> dict[str, nn.Module]:
        return {"stft": MultiResolutionSTFTLoss()}
