"""Multi-scale discriminators: networks for the audio and for average-pooled versions of it (Kumar et al., 2019).

HiFi-GAN's version of MelGAN's discriminator has other layers and another normalisation, and its average pooling treats
the edges differently.
"""

import itertools
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, leaky_relu
from torch.nn.utils.parametrizations import weight_norm

from framework.annotations import NonNegativeFloat, PositiveInt
from framework.checks import check_divisible, check_lengths, checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput, collect, normed_conv1d
from framework.discriminators.spectral_norm import spectral_norm
from framework.native.grouped_convolution import GroupedConv1d


class ScaleDiscriminator(nn.Module):
    """A stack of convolutions with leaky ReLUs between them; the last convolution computes the logits."""

    def __init__(self, convs: Sequence[nn.Module], conv_post: nn.Module, slope: float) -> None:
        super().__init__()
        self.convs = nn.ModuleList(convs)
        self.conv_post = conv_post
        self.slope = slope

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map audio `(batch, 1, time)` to logits `(batch, 1, n)` and maps `(batch, channels, time)`."""
        hidden, features = audio, []
        for conv in self.convs:
            hidden = leaky_relu(conv(hidden), self.slope)
            features.append(hidden)
        return self.conv_post(hidden), features


class MultiScaleDiscriminator(Discriminator):
    """HiFi-GAN's (Kong et al., 2020, section 2.3): spectral norm at the full rate, weight norm at the lower rates.

    Args:
        scales: Number of sub-discriminators; each following one receives the audio pooled by a further factor of 2.
        channels: Output channels of each of the seven convolutions.
        groups: Groups of each of the seven convolutions; `channels` must be multiples of them.
        slope: Negative slope of the leaky ReLU.
    """

    @checked
    def __init__(
        self,
        scales: PositiveInt = 3,
        channels: Sequence[PositiveInt] = (128, 128, 256, 512, 1024, 1024, 1024),
        groups: Sequence[PositiveInt] = (1, 4, 16, 16, 16, 16, 1),
        slope: NonNegativeFloat = 0.1,
    ) -> None:
        super().__init__()
        check_lengths(channels=channels, groups=groups, convolutions=range(7))
        for width, count in zip(channels, groups, strict=True):
            check_divisible(channels=(width, count))
        kernels, strides = (15, 41, 41, 41, 41, 41, 5), (1, 2, 2, 4, 4, 1, 1)
        shapes = list(zip([1, *channels[:-1]], channels, kernels, strides, groups, strict=True))

        def scale(first: bool) -> ScaleDiscriminator:
            def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Module:
                arguments: dict[str, Any] = {"stride": stride, "padding": kernel // 2, "groups": groups}
                convolution = GroupedConv1d(inputs, outputs, kernel, **arguments)
                return spectral_norm(convolution) if first else weight_norm(convolution)

            return ScaleDiscriminator([conv(*shape) for shape in shapes], conv(channels[-1], 1, 3), slope)

        self.discriminators = nn.ModuleList(scale(first=index == 0) for index in range(scales))

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return logits and feature maps of audio `(batch, 1, time)` at each scale; logits `(batch, n)`."""
        outputs = []
        for index, discriminator in enumerate(self.discriminators):
            if index:
                audio = avg_pool1d(audio, 4, stride=2, padding=2)
            logits, features = discriminator(audio)
            outputs.append((logits.flatten(1), features))
        return collect(outputs)


class MelGANDiscriminator(Discriminator):
    """MelGAN's (Kumar et al., 2019, section 2.2 and appendix A): window-based, with strided grouped convolutions.

    Args:
        scales: Number of sub-discriminators; each following one receives the audio pooled by a further factor of 2.
        channels: Output channels of the first convolution.
        layers: Number of strided convolutions.
        factor: Stride of each strided convolution, and the factor by which its channels grow, up to 1024.
    """

    @checked
    def __init__(
        self, scales: PositiveInt = 3, channels: PositiveInt = 16, layers: PositiveInt = 4, factor: PositiveInt = 4
    ) -> None:
        super().__init__()
        self.layers = layers
        widths = [min(channels * factor**layer, 1024) for layer in range(layers + 1)]
        last = min(2 * widths[-1], 1024)

        def scale() -> ScaleDiscriminator:
            convs: list[nn.Module] = [normed_conv1d(1, channels, 15, padding=7, padding_mode="reflect")]
            convs += [
                normed_conv1d(i, o, 10 * factor + 1, stride=factor, padding=5 * factor, groups=i // 4)
                for i, o in itertools.pairwise(widths)
            ]
            convs.append(normed_conv1d(widths[-1], last, 5, padding=2))
            return ScaleDiscriminator(convs, normed_conv1d(last, 1, 3, padding=1), slope=0.2)

        self.discriminators = nn.ModuleList(scale() for _ in range(scales))

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return logits and feature maps of audio `(batch, 1, time)` at each scale; logits `(batch, 1, n)`."""
        outputs = []
        for discriminator in self.discriminators:
            outputs.append(discriminator(audio))
            audio = avg_pool1d(audio, 4, stride=2, padding=1, count_include_pad=False)
        return collect(outputs)

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict, `model.disc_0.model.layer_1.0.bias`, to one of this network."""
        _, scale, _, layer, *_, leaf = name.split(".")
        index = int(layer.removeprefix("layer_"))
        conv = f"convs.{index}" if index < self.layers + 2 else "conv_post"
        return f"discriminators.{scale.removeprefix('disc_')}.{conv}.{leaf}"
