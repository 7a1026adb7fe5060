"""Discriminator of Parallel WaveGAN: dilated convolutions over the waveform (Yamamoto et al., 2020, section 2.1)."""

from torch import Tensor, nn

from framework.annotations import PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput, normed_conv1d


class ParallelWaveGANDiscriminator(Discriminator):
    """Ten convolutions of kernel 3 whose dilations grow by one, at the sample rate.

    Args:
        layers: Convolutions.
        channels: Width.
    """

    @checked
    def __init__(self, layers: PositiveInt = 10, channels: PositiveInt = 64) -> None:
        super().__init__()
        modules: list[nn.Module] = []
        width = 1
        for layer in range(layers - 1):
            dilation = max(layer, 1)
            modules += [normed_conv1d(width, channels, 3, padding=dilation, dilation=dilation), nn.LeakyReLU(0.2)]
            width = channels
        self.conv_layers = nn.Sequential(*modules, normed_conv1d(width, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return, for audio `(batch, 1, time)`, the logits `(batch, 1, time)` and the hidden feature maps."""
        features = []
        for layer in self.conv_layers:
            audio = layer(audio)
            if isinstance(layer, nn.LeakyReLU):
                features.append(audio)
        return [audio], [features]
