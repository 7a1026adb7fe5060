"""MelGAN: the first GAN that turns mel spectrograms into speech without distillation (Kumar et al., 2019)."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from framework.annotations import Depth, NonEmpty, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_scale import MelGANDiscriminator
from framework.inference.channels_last import Vocoder
from framework.inference.incremental import Incremental, Sum, incremental
from framework.inference.layers import (
    Upsampling,
    normed_conv,
    normed_upsampling,
    receptive_field,
    upsampling_padding,
)
from framework.losses.adversarial import AdversarialLoss, Hinge
from framework.losses.feature_matching import FeatureMatching
from framework.paradigms.adversarial import Adversarial


class ResidualBlock(nn.Module):
    """Dilated convolution and 1x1 convolution beside a 1x1 shortcut (section 2.1)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.LeakyReLU(0.2),
            nn.ReflectionPad1d(dilation),
            normed_conv(channels, channels, 3, dilation=dilation),
            nn.LeakyReLU(0.2),
            normed_conv(channels, channels, 1),
        )
        self.shortcut = normed_conv(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        return self.shortcut(hidden) + self.block(hidden)

    def incremental(self) -> Incremental:
        """Return the block for input in pieces."""
        return Sum(incremental(self.shortcut), incremental(self.block))


class MelGANGenerator(Vocoder):
    """Generator of MelGAN (section 2.1): log-mel `(batch, mels, frames)` -> audio `(batch, 1, frames * hop)`.

    Args:
        n_mels: Mel bands of the input.
        channels: Width of the last stage; each stage before it is twice as wide.
        upsample_rates: Factor of each stage; their product is the hop length.
        residual_blocks: Residual blocks of a stage, with dilations 1, 3, 9, ...
        outputs: Channels of the output.
    """

    @checked
    def __init__(
        self,
        n_mels: PositiveInt = 80,
        channels: PositiveInt = 32,
        upsample_rates: Sequence[PositiveInt] = (8, 8, 2, 2),
        residual_blocks: PositiveInt = 3,
        outputs: PositiveInt = 1,
    ) -> None:
        super().__init__()
        self.hop_length = math.prod(upsample_rates)
        dilations = [3**index for index in range(residual_blocks)]
        width = channels * 2 ** len(upsample_rates)
        layers: list[nn.Module] = [nn.ReflectionPad1d(3), normed_conv(n_mels, width, 7)]
        self.stages: list[Upsampling] = []
        for rate in upsample_rates:
            self.stages.append(Upsampling(rate, 2 * rate, upsampling_padding(rate, 2 * rate), sum(dilations)))
            layers += [nn.LeakyReLU(0.2), normed_upsampling(width, width // 2, rate)]
            width //= 2
            layers += [ResidualBlock(width, dilation) for dilation in dilations]
        layers += [nn.LeakyReLU(0.2), nn.ReflectionPad1d(3), normed_conv(width, outputs, 7), nn.Tanh()]
        # One sequence, numbered as in official checkpoints.
        self.model = nn.Sequential(*layers)
        # Frames that one output sample depends on.
        self.receptive_field = receptive_field(3, self.stages, 3)

    def forward(self, mel: Tensor) -> Tensor:
        """Generate audio `(batch, 1, frames * hop)` in [-1, 1] from a log-mel `(batch, mels, frames)`."""
        return self.model(mel)

    def incremental(self) -> Incremental:
        """Return the network for input in pieces."""
        return incremental(self.model)


class MelGAN(Adversarial):
    """MelGAN vocoder with its official recipe (Kumar et al., 2019, section 3): no loss but the discriminators'.

    Args:
        channels: Width of the last upsampling stage; each stage before it is twice as wide.
        upsample_rates: Factor of each stage; their product is the mel's hop length.
        residual_blocks: Residual blocks of a stage, with dilations 1, 3, 9, ...
        scales: Sub-discriminators, each on audio at half the rate of the one before.
    """

    mel = "melgan_22k"
    learning_rate = 1e-4
    betas = (0.5, 0.9)
    weight_decay = 0.0
    learning_rate_decay = 1.0
    feature_matching_weight = 10.0
    match_before_update = True
    channels: PositiveInt = 32
    upsample_rates: NonEmpty[PositiveInt] = (8, 8, 2, 2)
    residual_blocks: Depth = 3
    scales: Depth = 3

    def build_generator(self) -> MelGANGenerator:
        return MelGANGenerator(self.preset.n_mels, self.channels, self.upsample_rates, self.residual_blocks)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_scale": MelGANDiscriminator(self.scales)}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return Hinge()

    def build_feature_matching(self) -> FeatureMatching:
        # Equation 3, averaged over the scales and the layers of one sub-discriminator as the official code does it.
        layers = 4
        return FeatureMatching(include_logits=False, scale=4 / (layers + 1) / self.scales)
