"""BigVGAN: HiFi-GAN's generator with periodic activations that do not alias (Lee et al., 2023)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn, tanh
from torch.nn.functional import conv1d, conv_transpose1d, pad

from framework.annotations import NonEmpty, NonNegativeFloat, PositiveInt
from framework.checks import check_halved, check_lengths, checked
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_resolution import MultiResolutionDiscriminator
from framework.discriminators.sub_band_cqt import MultiScaleSubBandCQTDiscriminator
from framework.generators.hifigan import UNCHANGED, same_conv
from framework.inference.incremental import Chain, Incremental, Pointwise, StreamedNetwork, Sum, Window, incremental
from framework.inference.layers import normed_conv, normed_upsampling
from framework.losses.mel import MelLoss
from framework.losses.multi_scale_mel import MultiScaleMelLoss
from framework.paradigms.adversarial import Adversarial

TAPS = 12
"""Length of the low-pass filter at twice the rate."""


class SnakeBeta(nn.Module):
    """Periodic activation x + sin^2(a x) / b, with log a and log b learnt for each channel (section 3.2).

    Args:
        channels: Number of channels of the signal.
        antialiased: Whether it acts at twice the rate, between two low-pass filters, so that the harmonics that it adds
            do not fold back (section 3.3).
    """

    taps: Tensor

    def __init__(self, channels: int, antialiased: bool = True) -> None:
        super().__init__()
        self.antialiased = antialiased
        self.alpha = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("taps", low_pass(TAPS), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        if not self.antialiased:
            return self.bent(hidden)
        channels, reach = hidden.shape[1], TAPS // 2 - 1
        taps = self.taps.to(hidden).expand(channels, 1, -1)
        extended = pad(hidden, (reach, reach), mode="replicate")
        doubled = conv_transpose1d(extended, 2 * taps, stride=2, groups=channels)[..., 3 * reach : -3 * reach]
        extended = pad(self.bent(doubled), (reach, reach + 1), mode="replicate")
        return conv1d(extended, taps, stride=2, groups=channels)

    def incremental(self) -> Incremental:
        """Return the activation for input in pieces."""
        channels = len(self.alpha)
        return Window(self, TAPS // 2, channels) if self.antialiased else Pointwise(self)

    def bent(self, signal: Tensor) -> Tensor:
        """Return the activation itself, of a signal at any rate."""
        frequency, share = self.alpha.exp()[:, None], 1 / (self.beta.exp()[:, None] + 1e-9)
        return signal + (signal * frequency).sin().square() * share


def low_pass(taps: int) -> Tensor:
    """Return a filter that halves the bandwidth, of unit sum: a sinc in a Kaiser window, 0.3 of the rate wide."""
    # Kaiser's formula for more than 50 dB of attenuation, here 51 dB.
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * 0.3 + 7.95
    beta = 0.1102 * (attenuation - 8.7)
    places = torch.arange(taps) - (taps - 1) / 2
    filtered = torch.kaiser_window(taps, periodic=False, beta=beta) * torch.sinc(places / 2)
    return filtered / filtered.sum()


class ResidualBlock(nn.Module):
    """Anti-aliased multi-periodicity block: HiFi-GAN's residual block with periodic activations (section 3.2)."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int], antialiased: bool) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel) for _ in dilations)
        self.activations = nn.ModuleList(SnakeBeta(channels, antialiased) for _ in range(2 * len(dilations)))

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        activations = iter(self.activations)
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            branch = dilated(next(activations)(hidden))
            hidden = hidden + plain(next(activations)(branch))
        return hidden

    def incremental(self) -> Incremental:
        """Return the block for input in pieces."""
        first, second = self.activations[::2], self.activations[1::2]
        branches = zip(first, self.convs1, second, self.convs2, strict=True)
        return Chain(*(Sum(UNCHANGED, Chain(*map(incremental, branch))) for branch in branches))


class BigVGANGenerator(StreamedNetwork):
    """Generator of BigVGAN (figure 1): log-mel `(batch, mels, frames)` -> audio `(batch, 1, frames * hop)`.

    The defaults are the base model's; version 2 has `bounded=False`.

    Args:
        n_mels: Mel bands of the input.
        channels: Width before the first stage; each stage halves it.
        upsample_rates: Factor of each stage; their product is the hop length.
        kernels: Kernel size of each residual block of a stage.
        dilations: Dilations of each residual block of a stage.
        antialiased: Whether activations act at twice the rate, between low-pass filters.
        bounded: Whether a tanh ends the network, and its last convolution has a bias; else the output is clipped.
    """

    @checked
    def __init__(
        self,
        n_mels: PositiveInt = 80,
        channels: PositiveInt = 512,
        upsample_rates: Sequence[PositiveInt] = (8, 8, 2, 2),
        kernels: Sequence[PositiveInt] = (3, 7, 11),
        dilations: Sequence[Sequence[PositiveInt]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        antialiased: bool = True,
        bounded: bool = True,
    ) -> None:
        super().__init__()
        check_lengths(kernels=kernels, dilations=dilations)
        check_halved(channels, len(upsample_rates))
        self.hop_length, self.bounded = math.prod(upsample_rates), bounded
        shapes = list(zip(kernels, dilations, strict=True))
        self.conv_pre = normed_conv(n_mels, channels, 7, padding=3)
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate in upsample_rates:
            self.ups.append(normed_upsampling(channels, channels // 2, rate))
            channels //= 2
            self.resblocks.append(nn.ModuleList(ResidualBlock(channels, *shape, antialiased) for shape in shapes))
        self.activation_post = SnakeBeta(channels, antialiased)
        self.conv_post = normed_conv(channels, 1, 7, padding=3, bias=bounded)

    def forward(self, mel: Tensor) -> Tensor:
        """Generate audio `(batch, 1, frames * hop)` in [-1, 1] from a log-mel `(batch, mels, frames)`."""
        hidden = self.conv_pre(mel)
        stages: Any = zip(self.ups, self.resblocks, strict=True)
        for upsampling, blocks in stages:
            hidden = upsampling(hidden)
            hidden = sum(block(hidden) for block in blocks) / len(blocks)
        audio = self.conv_post(self.activation_post(hidden))
        return tanh(audio) if self.bounded else audio.clamp(-1, 1)

    def incremental(self) -> Incremental:
        """Return the network for input in pieces."""
        layers: list[Incremental] = [incremental(self.conv_pre)]
        stages: Any = zip(self.ups, self.resblocks, strict=True)
        for upsampling, blocks in stages:
            layers += [incremental(upsampling), Sum(*map(incremental, blocks), divisor=len(blocks))]
        layers += [incremental(self.activation_post), incremental(self.conv_post)]
        return Chain(*layers, Pointwise(torch.tanh if self.bounded else lambda audio: audio.clamp(-1, 1)))

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict, which numbers all residual blocks through, to one here."""
        if name.endswith(".filter"):
            return ""
        parts = name.replace(".act.", ".").split(".")
        if parts[0] == "ups":
            del parts[2]
        if parts[0] == "resblocks":
            stage, block = divmod(int(parts[1]), len(self.resblocks[0]))  # type: ignore[arg-type]
            parts[1:2] = [str(stage), str(block)]
        return ".".join(parts)


class BigVGAN(Adversarial):
    """BigVGAN vocoder (Lee et al., 2023), by the official recipe; the defaults are the base model's.

    Args:
        channels: Width before the first upsampling stage; each stage halves it.
        upsample_rates: Factor of each stage; their product is the mel's hop length.
        kernels: Kernel size of each residual block of a stage.
        dilations: Dilations of each residual block of a stage.
        antialiased: Whether activations act at twice the rate, between low-pass filters.
        mel_weight: Weight of the L1 loss between full-band log-mels.
    """

    learning_rate = 1e-4
    learning_rate_decay = 0.9999996
    decay_steps = 1
    gradient_clip = 1000.0
    channels: PositiveInt = 512
    upsample_rates: NonEmpty[PositiveInt] = (8, 8, 2, 2)
    kernels: NonEmpty[PositiveInt] = (3, 7, 11)
    dilations: NonEmpty[NonEmpty[PositiveInt]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    antialiased: bool = True
    mel_weight: NonNegativeFloat = 45.0

    def build_generator(self) -> BigVGANGenerator:
        return BigVGANGenerator(
            self.preset.n_mels, self.channels, self.upsample_rates, self.kernels, self.dilations, self.antialiased
        )

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {
            "multi_period": MultiPeriodDiscriminator(),
            "multi_resolution": MultiResolutionDiscriminator(slope=0.1),
        }

    def build_losses(self) -> dict[str, nn.Module]:
        return {"mel": MelLoss(self.preset.full_band())}


class BigVGAN2(BigVGAN):
    """BigVGAN's second version (2024): a constant-Q discriminator, mels at several scales, no tanh; for 44.1 kHz."""

    mel = "bigvgan_44k"
    gradient_clip = 500.0
    channels = 1536
    upsample_rates = (8, 4, 2, 2, 2, 2)
    mel_weight = 15.0

    def build_generator(self) -> BigVGANGenerator:
        return BigVGANGenerator(
            self.preset.n_mels,
            self.channels,
            self.upsample_rates,
            self.kernels,
            self.dilations,
            self.antialiased,
            bounded=False,
        )

    def build_discriminators(self) -> dict[str, Discriminator]:
        cqt = MultiScaleSubBandCQTDiscriminator(self.preset.sample_rate, channels=128)
        return {"multi_period": MultiPeriodDiscriminator(), "cqt": cqt}

    def build_losses(self) -> dict[str, nn.Module]:
        return {"mel": MultiScaleMelLoss(self.preset.sample_rate)}
