"""MuseGAN's critics: the official code's current one, the small one of the tutorial, and the paper's."""

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from framework.annotations import PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput

Sizes = tuple[int, int, int]


class MuseGANDiscriminator(Discriminator):
    """The official code's critic: one stream for each track, a shared stream, chroma, and onsets and offsets.

    Its last convolution has an output position for each pair of neighbouring bars, each with its own logit, as in the
    official code.

    Args:
        tracks: Number of tracks.
        beat_steps: Time steps in a beat; a bar has 4 beats.
        bars: Number of bars, at least 2.
    """

    @checked
    def __init__(self, tracks: PositiveInt = 5, beat_steps: PositiveInt = 12, bars: PositiveInt = 4) -> None:
        super().__init__()
        self.beat_steps, self.bars = beat_steps, bars
        pitch, time = (1, 1, 12), (1, 3, 1)
        self.pitch_time = nn.ModuleList(_chain([tracks, 16, 32], [pitch, time]) for _ in range(tracks))
        self.time_pitch = nn.ModuleList(_chain([tracks, 16, 32], [time, pitch]) for _ in range(tracks))
        self.private = nn.ModuleList(_chain([64, 64], [(1, 1, 1)]) for _ in range(tracks))
        self.shared = nn.ModuleList(
            [nn.Conv3d(64 * tracks, 128, (1, 4, 3), (1, 4, 2)), nn.Conv3d(128, 256, (1, 4, 3), (1, 4, 3))]
        )
        self.chroma = _chain([tracks, 32, 64], [(1, 1, 12), (1, 4, 1)])
        self.on_off_set = _chain([tracks, 16, 32, 64], [(1, 3, 1), (1, 4, 1), (1, 4, 1)])
        self.merged = nn.ModuleList([nn.Conv3d(384, 512, (2, 1, 1))])
        self.dense = nn.Linear(512, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, 0.0, 0.05, -0.1, 0.1)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Map pianorolls `(batch, tracks, 48 bars, 84)` to logits `(batch, bars - 1)`."""
        roll = audio.unflatten(2, (self.bars, -1))
        features: list[Tensor] = []
        streams = zip(self.pitch_time, self.time_pitch, self.private, strict=True)
        tracks = [
            _run(p, torch.cat([_run(a, roll, features), _run(b, roll, features)], 1), features) for a, b, p in streams
        ]
        hidden = _run(self.shared, torch.cat(tracks, 1), features)
        chroma = _run(self.chroma, self.chroma_of(roll), features)
        changes = (roll - pad(roll[..., :-1, :], (0, 0, 1, 0))).sum(-1, keepdim=True)
        hidden = torch.cat([hidden, chroma, _run(self.on_off_set, changes, features)], 1)
        hidden = _run(self.merged, hidden, features)
        return [self.dense(hidden.flatten(2).transpose(1, 2)).squeeze(-1)], [features]

    def chroma_of(self, roll: Tensor) -> Tensor:
        """Return the sum over each beat and pitch class: `(batch, tracks, bars, beats, 12)`."""
        beats = roll.unflatten(3, (-1, self.beat_steps)).sum(4)
        return beats.unflatten(-1, (-1, 12)).sum(-2)

    def official_names(self, name: str) -> str:
        """Translate a variable of the official graph, `Discriminator/shared/conv3d_1/kernel`."""
        parts = name.removeprefix("Model/").split("/")
        if parts[0] != "Discriminator" or len(parts) < 3 or "Adam" in parts[-1]:
            return ""
        scope, leaf = parts[1], {"kernel": "weight"}.get(parts[-1], parts[-1])
        if scope == "dense":
            return f"dense.{leaf}"
        layer, tracks = parts[2], len(self.private)
        number = int(layer.rpartition("_")[2]) if layer[-1].isdigit() and "_" in layer else 0
        place = f"{scope}.{number}"
        if scope == "merged_private":
            place = f"private.{number}.0"
        elif scope.endswith("_private"):
            # TensorFlow numbers the first layers of all tracks before the second layers.
            place = f"{scope.removesuffix('_private')}.{number % tracks}.{number // tracks}"
        return f"{place}.{leaf}"


def _chain(widths: list[int], kernels: list[Sizes]) -> nn.ModuleList:
    return nn.ModuleList(nn.Conv3d(widths[n], widths[n + 1], kernel, kernel) for n, kernel in enumerate(kernels))


def _run(layers: nn.Module, hidden: Tensor, features: list[Tensor]) -> Tensor:
    for layer in layers:  # type: ignore[attr-defined]
        hidden = leaky_relu(layer(hidden), 0.2)
        features.append(hidden)
    return hidden


class ClipNorm(nn.Module):
    """Layer normalisation over a whole clip, with gain and offset per channel and the unbiased standard deviation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, hidden: Tensor) -> Tensor:
        """Normalise `(batch, channels, bars, steps, pitches)`."""
        flat = hidden.flatten(1)
        shape = (-1, *[1] * (hidden.dim() - 1))
        hidden = (hidden - flat.mean(1).view(shape)) / (flat.std(1).view(shape) + 1e-5)
        return self.gamma.view(1, *shape[:-1]) * hidden + self.beta.view(1, *shape[:-1])


class NormedConvolution(nn.Module):
    """A convolution, layer normalisation over the clip and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: Sizes, stride: Sizes | None = None) -> None:
        super().__init__()
        # Named as in the tutorial's checkpoints.
        self.transconv = nn.Conv3d(inputs, outputs, kernel, stride or kernel)
        self.layernorm = ClipNorm(outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return `(batch, outputs, bars, steps, pitches)`."""
        return leaky_relu(self.layernorm(self.transconv(hidden)))


class TutorialDiscriminator(Discriminator):
    """The critic of the PyTorch tutorial by MuseGAN's author.

    Args:
        tracks: Number of tracks.
        width: Channels of the stream of each track.
        changes: Also give the critic the differences of consecutive time steps, which mark where notes begin and end.
        bars: Number of bars, at least 2.
    """

    @checked
    def __init__(
        self, tracks: PositiveInt = 5, width: PositiveInt = 16, changes: bool = False, bars: PositiveInt = 4
    ) -> None:
        super().__init__()
        self.changes, self.bars = changes, bars
        self.conv0 = nn.ModuleList(NormedConvolution(1 + changes, width, (1, 1, 12)) for _ in range(tracks))
        self.conv1 = nn.ModuleList(NormedConvolution(width, width, (1, 4, 1)) for _ in range(tracks))
        self.conv2 = NormedConvolution(width * tracks, 4 * width, (1, 1, 3), (1, 1, 1))
        self.conv3 = NormedConvolution(4 * width, 4 * width, (1, 1, 4))
        self.conv4 = NormedConvolution(4 * width, 8 * width, (1, 4, 1))
        self.conv5 = NormedConvolution(8 * width, 8 * width, (2, 1, 1), (1, 1, 1))
        self.conv6 = NormedConvolution(8 * width, 16 * width, (bars - 1, 1, 1))
        self.dense = nn.Linear(16 * width, 1)

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Map pianorolls `(batch, tracks, 16 bars, 72)` to logits `(batch, 1)`."""
        seen = [audio]
        if self.changes:
            seen.append((audio - pad(audio[:, :, :-1], (0, 0, 1, 0))).abs())
        roll = torch.stack(seen, 2).unflatten(3, (self.bars, -1))
        tracks = [b(a(roll[:, n])) for n, (a, b) in enumerate(zip(self.conv0, self.conv1, strict=True))]
        features = [torch.cat(tracks, 1)]
        for layer in (self.conv2, self.conv3, self.conv4, self.conv5, self.conv6):
            features.append(layer(features[-1]))
        return [self.dense(features[-1].flatten(1))], [features]
