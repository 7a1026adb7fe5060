"""The discriminator of DCGAN (Radford et al., 2016), as in PyTorch's examples."""

from torch import Tensor, nn

from framework.annotations import NonNegativeInt, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput
from framework.discriminators.waveform import projection


class DCGANDiscriminator(Discriminator):
    """Strided convolutions with leaky ReLUs and one logit; all but the first have batch normalisation (section 3).

    A conditional one adds the inner product of the last feature map, summed over its positions, with an embedding of
    the label (Miyato & Koyama, 2018).

    Args:
        channels: Output channels of the first convolution; each following one has twice as many.
        images: Number of image channels.
        num_classes: Number of classes; 0 for an unconditional one.
    """

    @checked
    def __init__(self, channels: PositiveInt = 64, images: PositiveInt = 1, num_classes: NonNegativeInt = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(images, channels, 4, 2, 1, bias=False), nn.LeakyReLU(0.2)]
        for _ in range(3):
            layers += [
                nn.Conv2d(channels, 2 * channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(2 * channels),
                nn.LeakyReLU(0.2),
            ]
            channels *= 2
        layers.append(nn.Conv2d(channels, 1, 4, bias=False))
        # One sequence, numbered as in official checkpoints.
        self.main = nn.Sequential(*layers)
        self.label = nn.Linear(num_classes, channels, bias=False) if num_classes else None
        self.apply(draw_weights)

    def forward(self, example: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        """Map images `(batch, images, 64, 64)` and one-hot labels `(batch, num_classes)` to logits `(batch, 1)`."""
        hidden, features = example, []
        for layer in list(self.main)[:-1]:
            hidden = layer(hidden)
            if isinstance(layer, nn.LeakyReLU):
                features.append(hidden)
        logits = self.main[-1](hidden).flatten(1)
        return [logits + projection(self.label, hidden, labels)], [features]


def draw_weights(layer: nn.Module) -> None:
    """Initialise a layer: weights from N(0, 0.02), gains of batch normalisation from N(1, 0.02) (section 4)."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(layer.weight, 0.0, 0.02)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, 1.0, 0.02)
