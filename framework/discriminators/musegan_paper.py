"""The critic of MuseGAN's paper."""

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from framework.annotations import PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput, collect


class BarsDiscriminator(nn.Module):
    """The official code's convolutions over bars of 96 time steps and 84 pitches, then two dense layers over four bars.

    Args:
        tracks: Number of input tracks.
    """

    def __init__(self, tracks: int) -> None:
        super().__init__()
        sizes = (
            (128, (1, 1, 12), (1, 1, 12)), (128, (1, 1, 7), (1, 1, 7)), (128, (1, 2, 1), (1, 2, 1)),
            (128, (1, 2, 1), (1, 2, 1)), (256, (1, 4, 1), (1, 2, 1)), (512, (1, 3, 1), (1, 2, 1)),
        )  # fmt: skip
        layers, inputs = [], tracks
        for width, kernel, stride in sizes:
            layers.append(nn.Conv3d(inputs, width, kernel, stride))
            inputs = width
        self.layers = nn.ModuleList(layers)
        self.dense = nn.Linear(4 * 5 * 512, 1024)
        self.last = nn.Linear(1024, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, 0.0, 0.02, -0.04, 0.04)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, roll: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the logits `(batch, 1)` and the feature maps of pianorolls `(batch, tracks, 384, 84)`."""
        hidden, features = roll.unflatten(2, (4, -1)), []
        for layer in self.layers:
            hidden = leaky_relu(layer(hidden), 0.2)
            features.append(hidden)
        features.append(leaky_relu(self.dense(hidden.flatten(1)), 0.2))
        return self.last(features[-1]), features


class PaperDiscriminator(Discriminator):
    """One critic of all tracks together or, in the jamming model, one critic for each track (section 4.1).

    Args:
        tracks: Number of tracks.
        jamming: Whether each track has its own critic.
    """

    @checked
    def __init__(self, tracks: PositiveInt = 5, jamming: bool = False) -> None:
        super().__init__()
        self.share = 1 if jamming else tracks
        self.critics = nn.ModuleList(BarsDiscriminator(self.share) for _ in range(tracks // self.share))

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Map pianorolls `(batch, tracks, 384, 84)` to logits `(batch, 1)` of each critic."""
        seen = audio.split(self.share, 1)
        return collect(critic(roll) for critic, roll in zip(self.critics, seen, strict=True))
