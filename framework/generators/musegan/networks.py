"""MuseGAN's generators: the official code's current one, and the small one of its author's PyTorch tutorial."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.annotations import PositiveInt
from framework.checks import checked

Sizes = tuple[int, int, int]


class Block(nn.Module):
    """A transposed convolution without overlap beyond its kernel, batch normalisation, and an activation.

    Args:
        inputs: Channels.
        outputs: Channels.
        kernel: Over bars, steps and pitches.
        stride: The kernel's, unless it says otherwise.
        activation: None leaves it to whoever merges.
        epsilon: The epsilon of the normalisation.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: Sizes,
        stride: Sizes | None = None,
        activation: Callable[[Tensor], Tensor] | None = torch.relu,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.transconv = nn.ConvTranspose3d(inputs, outputs, kernel, stride or kernel)
        self.batchnorm = nn.BatchNorm3d(outputs, eps=epsilon)
        self.activation = activation

    def forward(self, hidden: Tensor) -> Tensor:
        """Return `(batch, outputs, bars, steps, pitches)`."""
        hidden = self.batchnorm(self.transconv(hidden))
        return hidden if self.activation is None else self.activation(hidden)


class MuseGANGenerator(nn.Module):
    """The official code's generator: a shared trunk, and for each track two streams that meet at the end.

    One stream unfolds pitch before time, the other time before pitch. Bars have 48 steps and 84 pitches, in [-1, 1].

    Args:
        latent_dim: Dimensions of the noise.
        tracks: Number of tracks.
        bars: Number of bars; 4 in the official code.
    """

    empty = -1.0
    """Value of a place without a note."""

    @checked
    def __init__(self, latent_dim: PositiveInt = 128, tracks: PositiveInt = 5, bars: PositiveInt = 4) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, kernel: Sizes, stride: Sizes | None = None) -> Block:
            return Block(inputs, outputs, kernel, stride, epsilon=1e-3)

        self.shared = nn.Sequential(
            block(latent_dim, 512, (bars, 1, 1)), block(512, 256, (1, 4, 3)), block(256, 128, (1, 4, 3), (1, 4, 2))
        )
        pitch, time = (1, 1, 12), (1, 3, 1)
        self.pitch_time = nn.ModuleList(
            nn.Sequential(block(128, 32, pitch), block(32, 16, time)) for _ in range(tracks)
        )
        self.time_pitch = nn.ModuleList(
            nn.Sequential(block(128, 32, time), block(32, 16, pitch)) for _ in range(tracks)
        )
        self.merged = nn.ModuleList(Block(32, 1, (1, 1, 1), activation=None, epsilon=1e-3) for _ in range(tracks))
        for layer in self.modules():
            if isinstance(layer, nn.ConvTranspose3d):
                nn.init.trunc_normal_(layer.weight, 0.0, 0.05, -0.1, 0.1)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, noise: Tensor) -> Tensor:
        """Generate pianorolls `(batch, tracks, 48 bars, 84)` from noise `(batch, latent_dim)`."""
        hidden = self.shared(noise[..., None, None, None])
        rolls = [
            merge(torch.cat([pitch(hidden), time(hidden)], 1))
            for pitch, time, merge in zip(self.pitch_time, self.time_pitch, self.merged, strict=True)
        ]
        return torch.cat(rolls, 1).flatten(2, 3).tanh()

    def official_names(self, name: str) -> str:
        """Translate a variable of the official graph, `Generator/shared/conv3d_transpose_1/kernel`."""
        parts = name.removeprefix("Model/").split("/")
        if parts[0] != "Generator" or len(parts) != 4:
            return ""
        _, scope, layer, leaf = parts
        number = int(layer.rpartition("_")[2]) if layer[-1].isdigit() else 0
        leaves = {"kernel": "weight", "gamma": "weight", "beta": "bias"}
        leaves |= {"moving_mean": "running_mean", "moving_variance": "running_var"}
        tracks = len(self.merged)
        place = {"shared": f"shared.{number}", "merged_private": f"merged.{number}"}
        for private in ("pitch_time", "time_pitch"):
            # TensorFlow numbers the first layers of all tracks, then the second ones.
            place[f"{private}_private"] = f"{private}.{number % tracks}.{number // tracks}"
        part = "transconv" if "conv3d" in layer else "batchnorm"
        return f"{place[scope]}.{part}.{leaves.get(leaf, leaf)}"


class TutorialGenerator(nn.Module):
    """The generator of its author's PyTorch tutorial: bars of 16 steps and 72 pitches, 0 or more.

    Args:
        latent_dim: Dimensions of the noise.
        tracks: Number of tracks.
        width: Channels before the tracks part; there are up to 8 times as many earlier.
        monophonic: Whether a track has one note at a time: its values are probabilities of pitches and of a rest
            (a softmax, as Gulrajani et al., 2017, have it for letters), not numbers of their own.
        bars: Number of bars; 4 in the tutorial.
    """

    empty = 0.0
    """Value of a place without a note."""

    @checked
    def __init__(
        self,
        latent_dim: PositiveInt = 128,
        tracks: PositiveInt = 5,
        width: PositiveInt = 32,
        monophonic: bool = False,
        bars: PositiveInt = 4,
    ) -> None:
        super().__init__()
        self.monophonic = monophonic
        self.transconv0 = Block(latent_dim, 8 * width, (bars, 1, 1))
        self.transconv1 = Block(8 * width, 4 * width, (1, 4, 1))
        self.transconv2 = Block(4 * width, 2 * width, (1, 1, 4))
        self.transconv3 = Block(2 * width, width, (1, 1, 3), (1, 1, 1))
        self.transconv4 = nn.ModuleList(Block(width, width // 2, (1, 4, 1)) for _ in range(tracks))
        activation = None if monophonic else torch.relu
        self.transconv5 = nn.ModuleList(Block(width // 2, 1, (1, 1, 12), activation=activation) for _ in range(tracks))

    def forward(self, noise: Tensor) -> Tensor:
        """Generate pianorolls `(batch, tracks, 16 bars, 72)` from noise `(batch, latent_dim)`."""
        hidden = noise[..., None, None, None]
        for block in (self.transconv0, self.transconv1, self.transconv2, self.transconv3):
            hidden = block(hidden)
        rolls = [last(first(hidden)) for first, last in zip(self.transconv4, self.transconv5, strict=True)]
        roll = torch.cat(rolls, 1).flatten(2, 3)
        # A rest is as likely as a pitch whose value is 0.
        return pad(roll, (0, 1)).softmax(-1)[..., :-1] if self.monophonic else roll
