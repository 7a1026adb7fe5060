"""HiFi-GAN: a vocoder that upsamples mel spectrograms by transposed convolutions (Kong et al., 2020)."""

import math
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn, tanh
from torch.nn.functional import leaky_relu

from framework.annotations import NonEmpty, NonNegativeFloat, PositiveInt
from framework.checks import check_halved, check_lengths, checked
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_scale import MultiScaleDiscriminator
from framework.errors import InvalidValueError
from framework.inference.channels_last import Vocoder, kind_of
from framework.inference.incremental import Chain, Float32, Incremental, Pointwise, Sum, float32_region, incremental
from framework.inference.layers import (
    Upsampling,
    normed_conv,
    normed_upsampling,
    receptive_field,
    upsampling_padding,
)
from framework.losses.mel import MelLoss
from framework.paradigms.adversarial import Adversarial

SLOPE = 0.1
ACTIVATION, UNCHANGED = Pointwise(nn.LeakyReLU(SLOPE)), Pointwise(nn.Identity())


def same_conv(channels: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """Return a convolution that keeps the length."""
    return normed_conv(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)


class ResidualBlock1(nn.Module):
    """Residual block of V1 and V2: each dilated convolution is followed by a plain one (appendix A)."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(same_conv(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(same_conv(channels, kernel) for _ in dilations)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            hidden = hidden + plain(leaky_relu(dilated(leaky_relu(hidden, SLOPE)), SLOPE))
        return hidden

    def incremental(self) -> Incremental:
        """Return the block for input in pieces."""
        pairs = zip(self.convs1, self.convs2, strict=True)
        return Chain(*(Sum(UNCHANGED, Chain(ACTIVATION, incremental(d), ACTIVATION, incremental(p))) for d, p in pairs))

    @staticmethod
    def reach(kernel: int, dilations: Sequence[int]) -> int:
        """Return the samples that the block sees on each side."""
        return sum(dilation + 1 for dilation in dilations) * (kernel - 1) // 2


class ResidualBlock2(nn.Module):
    """Residual block of V3: dilated convolutions alone (appendix A)."""

    def __init__(self, channels: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(same_conv(channels, kernel, dilation) for dilation in dilations)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        for conv in self.convs:
            hidden = hidden + conv(leaky_relu(hidden, SLOPE))
        return hidden

    def incremental(self) -> Incremental:
        """Return the block for input in pieces."""
        return Chain(*(Sum(UNCHANGED, Chain(ACTIVATION, incremental(conv))) for conv in self.convs))

    @staticmethod
    def reach(kernel: int, dilations: Sequence[int]) -> int:
        """Return the samples that the block sees on each side."""
        return sum(dilations) * (kernel - 1) // 2


RESIDUAL_BLOCKS: dict[int, type[ResidualBlock1] | type[ResidualBlock2]] = {1: ResidualBlock1, 2: ResidualBlock2}


class HiFiGANGenerator(Vocoder):
    """Generator of HiFi-GAN (section 2.2): log-mel `(batch, mels, frames)` -> audio `(batch, 1, frames * hop)`.

    Each stage upsamples by a transposed convolution and averages residual blocks of different kernels and dilations
    (multi-receptive-field fusion). The defaults are V1.

    Args:
        n_mels: Mel bands of the input.
        channels: Width before the first stage; each stage halves it.
        upsample_rates: Factor of each stage; their product is the hop length.
        upsample_kernels: Kernel size of each transposed convolution.
        residual_block: Kind of the residual blocks, 1 or 2.
        kernels: Kernel size of each residual block of a stage.
        dilations: Dilations of each residual block of a stage.
        fusion: Whether a stage averages all its residual blocks. Without it, it has the one that sees furthest: the
            paper's ablation keeps the block with the widest receptive field (table 3).

    Raises:
        ValueError: when a stage would not multiply the length by exactly its rate, or not keep it.
    """

    @checked
    def __init__(
        self,
        n_mels: PositiveInt = 80,
        channels: PositiveInt = 512,
        upsample_rates: Sequence[PositiveInt] = (8, 8, 2, 2),
        upsample_kernels: Sequence[PositiveInt] = (16, 16, 4, 4),
        residual_block: PositiveInt = 1,
        kernels: Sequence[PositiveInt] = (3, 7, 11),
        dilations: Sequence[Sequence[PositiveInt]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5)),
        fusion: bool = True,
    ) -> None:
        super().__init__()
        check_lengths(upsample_rates=upsample_rates, upsample_kernels=upsample_kernels)
        check_lengths(kernels=kernels, dilations=dilations)
        check_halved(channels, len(upsample_rates))
        stages = list(zip(upsample_rates, upsample_kernels, strict=True))
        if any(kernel % 2 == 0 for kernel in kernels):
            raise InvalidValueError(f"kernels of residual blocks are odd, to keep the length: {tuple(kernels)}")
        self.hop_length = math.prod(upsample_rates)
        if residual_block not in RESIDUAL_BLOCKS:
            raise InvalidValueError(f"residual blocks are of kind 1 or 2, not {residual_block}")
        block = RESIDUAL_BLOCKS[residual_block]
        shapes = list(zip(kernels, dilations, strict=True))
        if not fusion:
            shapes = [max(shapes, key=lambda shape: block.reach(*shape))]
        self.blocks_per_stage = len(shapes)

        self.conv_pre = normed_conv(n_mels, channels, 7, padding=3)
        self.ups = nn.ModuleList()
        self.resblocks = nn.ModuleList()
        for rate, kernel in stages:
            self.ups.append(normed_upsampling(channels, channels // 2, rate, kernel))
            channels //= 2
            self.resblocks.extend(block(channels, *shape) for shape in shapes)
        self.conv_post = normed_conv(channels, 1, 7, padding=3)

        reach = max(block.reach(*shape) for shape in shapes)
        # Frames that one output sample depends on.
        self.receptive_field = receptive_field(
            3, [Upsampling(r, k, upsampling_padding(r, k), reach) for r, k in stages], 3
        )

    def forward(self, mel: Tensor) -> Tensor:
        """Generate audio `(batch, 1, frames * hop)` in [-1, 1] from a log-mel `(batch, mels, frames)`."""
        # Of real weights, rounding the first stage to bfloat16 leaves synthesis an SNR of 20 dB; the other layers that
        # stay in float32 are cheap.
        exact, dtype = not self.training, kind_of(self)[1]
        with float32_region(mel, exact):
            hidden = self.conv_pre(mel.to(dtype) if exact else mel)
        for stage, upsampling in enumerate(self.ups):
            with float32_region(mel, exact):
                hidden = upsampling(leaky_relu(hidden.to(dtype) if exact else hidden, SLOPE))
            first = stage * self.blocks_per_stage
            blocks = self.resblocks[first : first + self.blocks_per_stage]
            with float32_region(mel, exact and stage == 0):
                hidden = sum(block(hidden) for block in blocks) / self.blocks_per_stage
        with float32_region(mel, exact):
            # The official code falls back to PyTorch's default slope, 0.01, for the last one.
            return tanh(self.conv_post(leaky_relu(hidden.to(dtype) if exact else hidden)))

    def incremental(self) -> Incremental:
        """Return the network for input in pieces."""
        layers: list[Incremental] = [Float32(incremental(self.conv_pre))]
        for stage, upsampling in enumerate(self.ups):
            first = stage * self.blocks_per_stage
            blocks = [incremental(block) for block in self.resblocks[first : first + self.blocks_per_stage]]
            fusion = Sum(*blocks, divisor=len(blocks))
            layers += [Float32(ACTIVATION, incremental(upsampling)), Float32(fusion) if stage == 0 else fusion]
        ending = Float32(Pointwise(nn.LeakyReLU()), incremental(self.conv_post), Pointwise(nn.Tanh()))
        return Chain(*layers, ending)


def hifigan_discriminators() -> dict[str, Discriminator]:
    """Return HiFi-GAN's discriminators (section 2.3), updated and heard in this order."""
    return {"multi_period": MultiPeriodDiscriminator(), "multi_scale": MultiScaleDiscriminator()}


class HiFiGAN(Adversarial):
    """HiFi-GAN vocoder (Kong et al., 2020); the defaults are V1 and the training of section 3.

    Args:
        channels: Width before the first upsampling stage; each stage halves it.
        upsample_rates: Factor of each stage; their product is the mel's hop length.
        upsample_kernels: Kernel size of each stage's transposed convolution.
        residual_block: Kind of the residual blocks: 1 (V1, V2) or the lighter 2 (V3).
        kernels: Kernel size of each residual block of a stage.
        dilations: Dilations of each residual block of a stage.
        fusion: Multi-receptive-field fusion; without it a stage has the one block that sees furthest.
        mel_weight: Weight of the L1 loss between full-band log-mels (equation 4).
    """

    channels: PositiveInt = 512
    upsample_rates: NonEmpty[PositiveInt] = (8, 8, 2, 2)
    upsample_kernels: NonEmpty[PositiveInt] = (16, 16, 4, 4)
    residual_block: Literal[1, 2] = 1
    kernels: NonEmpty[PositiveInt] = (3, 7, 11)
    dilations: NonEmpty[NonEmpty[PositiveInt]] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    fusion: bool = True
    mel_weight: NonNegativeFloat = 45.0

    def build_generator(self) -> HiFiGANGenerator:
        return HiFiGANGenerator(
            self.preset.n_mels,
            self.channels,
            self.upsample_rates,
            self.upsample_kernels,
            self.residual_block,
            self.kernels,
            self.dilations,
            self.fusion,
        )

    def build_discriminators(self) -> dict[str, Discriminator]:
        return hifigan_discriminators()

    def build_losses(self) -> dict[str, nn.Module]:
        return {"mel": MelLoss(self.preset.full_band())}
