"""The models of MuseGAN's paper: who composes (jamming, composer, hybrid), from what noise, beside which track."""

from typing import Literal

import torch
from torch import Tensor, nn

from framework.annotations import PositiveInt
from framework.checks import checked

Kernel = tuple[int, int]
BARS, STEPS, PITCHES = 4, 96, 84
_LAYERS: tuple[tuple[int, Kernel], ...] = (
    (512, (2, 1)), (256, (2, 1)), (256, (2, 1)), (128, (2, 1)), (128, (3, 1)), (64, (1, 7)),
)  # fmt: skip
_TOLD = 16
"""Channels of what is told of the given track at each layer."""


def _block(inputs: int, outputs: int, kernel: Kernel) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, kernel, kernel), nn.BatchNorm2d(outputs, eps=1e-5, momentum=0.1), nn.ReLU()
    )


class TemporalGenerator(nn.Module):
    """Noise to a sequence of noises, one for each of four bars (section 4.2, `G_temp`)."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.first = _block(latent_dim, 1024, (2, 1))
        self.second = nn.Sequential(nn.ConvTranspose2d(1024, latent_dim, (3, 1)), nn.BatchNorm2d(latent_dim), nn.ReLU())

    def forward(self, noise: Tensor) -> Tensor:
        """Return `(batch, bars, latent_dim)` from noise `(batch, latent_dim)`."""
        return self.second(self.first(noise[..., None, None])).squeeze(-1).transpose(1, 2)


class BarEncoder(nn.Module):
    """What each layer of a bar generator is told of a given track's bar, the last layer first (section 4.3)."""

    def __init__(self) -> None:
        super().__init__()
        kernels = ((1, 12), (1, 7), (3, 1), (2, 1), (2, 1), (2, 1), (2, 1))
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(_TOLD if n else 1, _TOLD, kernel, kernel), nn.BatchNorm2d(_TOLD), nn.LeakyReLU(0.2))
            for n, kernel in enumerate(kernels)
        )

    def forward(self, bar: Tensor) -> list[Tensor]:
        """Return maps `(batch, 16, steps, pitches)` of a bar `(batch, 1, 96, 84)`, the coarsest first."""
        maps: list[Tensor] = []
        for layer in self.layers:
            bar = layer(bar)
            maps.append(bar)
        return maps[::-1]


class BarGenerator(nn.Module):
    """Noise to one bar of 96 steps and 84 pitches, in [-1, 1] (appendix A).

    Args:
        latent_dim: Dimensions of the noise.
        tracks: How many tracks the bar has.
        told: Channels of what is told of a given track at each layer; 0 for none.
    """

    def __init__(self, latent_dim: int, tracks: int = 1, told: int = 0) -> None:
        super().__init__()
        self.first = _block(latent_dim, 1024, (1, 1))
        widths = [512, *(width for width, _ in _LAYERS)]
        self.layers = nn.ModuleList(
            _block(widths[n] + told, width, kernel) for n, (width, kernel) in enumerate(_LAYERS)
        )
        self.last = nn.ConvTranspose2d(widths[-1] + told, tracks, (1, 12), (1, 12))

    def forward(self, noise: Tensor, told: list[Tensor] | None = None) -> Tensor:
        """Generate bars `(batch, tracks, 96, 84)` from noise `(batch, latent_dim)`."""
        # TensorFlow has the channels last.
        hidden = self.first(noise[..., None, None]).view(-1, 2, 1, 512).movedim(-1, 1)
        for number, layer in enumerate([*self.layers, self.last]):
            hidden = layer(hidden if told is None else torch.cat([hidden, told[number]], 1))
        return hidden.tanh()


class PaperGenerator(nn.Module):
    """The paper's generators: four bars of several tracks (section 4.1 to 4.3).

    * `composer`: one generator makes all tracks of one noise.
    * `jamming`: each track has its generator and a noise of its own.
    * `hybrid`: each track has its generator, and two noises, one its own and one for all.

    Args:
        players: Which of these.
        tracks: How many tracks there are, with a given one.
        latent_dim: Dimensions of a bar's noise without a temporal generator, which has as many again.
        temporal: Whether half the noise of a bar is made from one noise by temporal generators; else all of a bar's
            noise is drawn for the bar.
        given: The track that is accompanied; None makes all.
    """

    empty = -1.0
    """Value of a place without a note."""

    @checked
    def __init__(
        self,
        players: Literal["jamming", "composer", "hybrid"],
        tracks: PositiveInt = 5,
        latent_dim: PositiveInt = 128,
        temporal: bool = True,
        given: int | None = None,
    ) -> None:
        super().__init__()
        made = tracks - (given is not None)
        self.made, self.given = made, given
        # How many noises: of all tracks together, and of each by itself.
        self.common, self.own = {"composer": (1, 0), "jamming": (0, made), "hybrid": (1, made)}[players]
        self.size = latent_dim // 2 if players == "hybrid" else latent_dim
        noises = self.common + self.own
        self.temporal = nn.ModuleList(TemporalGenerator(self.size) for _ in range(noises if temporal else 0))
        self.latent_dim = noises * self.size * (BARS + 1 if temporal else BARS)
        told = 0 if given is None else _TOLD
        width = latent_dim * (2 if temporal else 1)
        count, voices = (1, made) if players == "composer" else (made, 1)
        self.bars = nn.ModuleList(BarGenerator(width, voices, told) for _ in range(count))
        self.encoder = None if given is None else BarEncoder()
        for layer in self.modules():
            if isinstance(layer, nn.ConvTranspose2d | nn.Conv2d):
                nn.init.trunc_normal_(layer.weight, 0.0, 0.02, -0.04, 0.04)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, noise: Tensor, given: Tensor | None = None) -> Tensor:
        """Generate pianorolls `(batch, tracks, 384, 84)`.

        Args:
            noise: `(batch, self.latent_dim)`.
            given: The track that is accompanied, `(batch, 1, 384, 84)`; it comes back in its place.
        """
        bars = self.noise_of_bars(noise)
        told = None
        if self.encoder is not None:
            assert given is not None
            told = self.encoder(given.unflatten(2, (BARS, STEPS)).transpose(1, 2).flatten(0, 1))
        tracks = []
        for number, generator in enumerate(self.bars):
            parts = [bars[:, :, 0]] if self.common else []
            parts += [bars[:, :, self.common + number]] if self.own else []
            made = generator(torch.cat(parts, -1).flatten(0, 1), told)
            tracks.append(made.unflatten(0, (len(noise), BARS)).transpose(1, 2).flatten(2, 3))
        roll = torch.cat(tracks, 1)
        if given is None or self.given is None:
            return roll
        return torch.cat([roll[:, : self.given], given, roll[:, self.given :]], 1)

    def noise_of_bars(self, noise: Tensor) -> Tensor:
        """Return the noises of each bar `(batch, bars, noises, size)`, those through time beside the bar's own."""
        noises = noise.unflatten(1, (-1, self.common + self.own, self.size))
        bars = noises[:, :BARS]
        if not self.temporal:
            return bars
        through = torch.stack([make(noises[:, BARS, n]) for n, make in enumerate(self.temporal)], 2)
        return torch.cat([bars, through], -1)
