"""DCGAN: convolutions all the way from noise to an image (Radford et al., 2016), here of music."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from framework.annotations import MidiNumber, NonEmpty, PositiveFloat, PositiveInt
from framework.audio.griffin_lim import GriffinLim
from framework.checks import checked
from framework.data_module import DataModule, FromData, data_module_of
from framework.discriminators.base import Discriminator
from framework.discriminators.dcgan import DCGANDiscriminator, draw_weights
from framework.errors import InvalidValueError
from framework.generators.musegan.tracks import described, grid_from_data, grid_of, traits_of
from framework.hyperparameters import from_data, runtime
from framework.losses.adversarial import AdversarialLoss, NonSaturating
from framework.music.grid import Grid
from framework.music.notes import Note
from framework.music.roll_pictures import roll_picture
from framework.music.soundfont import Performance, render
from framework.paradigms.noise_driven import NoiseDriven
from framework.traits import Trait

SIZE = 64
PIANO, VELOCITY = 0, 90


class DCGANGenerator(nn.Module):
    """Transposed convolutions with batch normalisation and ReLUs, tanh at the end (section 3, figure 1).

    As PyTorch's examples have it: kernels of 4, no bias. The paper's are of 5, and a dense layer comes first.

    Args:
        latent_dim: Dimensions of the noise, and of what is told beside it.
        channels: Width before the last convolution; before each earlier one there is twice as much.
        images: Channels of an image.
    """

    @checked
    def __init__(self, latent_dim: PositiveInt = 100, channels: PositiveInt = 64, images: PositiveInt = 1) -> None:
        super().__init__()
        width = 8 * channels
        layers: list[nn.Module] = [
            nn.ConvTranspose2d(latent_dim, width, 4, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        for _ in range(3):
            layers += [
                nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width // 2),
                nn.ReLU(),
            ]
            width //= 2
        layers += [nn.ConvTranspose2d(width, images, 4, 2, 1, bias=False), nn.Tanh()]
        # One sequence, numbered as in official checkpoints.
        self.main = nn.Sequential(*layers)
        self.apply(draw_weights)

    def forward(self, noise: Tensor) -> Tensor:
        """Generate images `(batch, images, 64, 64)` in [-1, 1] from noise `(batch, latent_dim)`."""
        return self.main(noise[..., None, None])


class DCGAN(NoiseDriven):
    """DCGAN of images of 64 x 64, with the recipe of Radford et al. (2016), section 4; a subclass says of what.

    Args:
        channels: Width of the outermost layers of generator and discriminator; each further in has twice as much.
        images: Channels of an image.
    """

    learning_rate = 2e-4
    betas = (0.5, 0.999)
    channels: PositiveInt = 64
    images: PositiveInt = 1

    def build_generator(self) -> DCGANGenerator:
        return DCGANGenerator(self.inputs, self.channels, self.images)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"image": DCGANDiscriminator(self.channels, self.images, self.known_labels)}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return NonSaturating()

    def noise(self, count: int) -> Tensor:
        """Draw noise `(count, latent_dim)` from a standard normal distribution, as PyTorch's examples."""
        return torch.randn(count, self.latent_dim, device=self.device)


class SpectrogramDCGAN(DCGAN):
    """DCGAN on images of 64 mel bands and 64 frames, made audible by Griffin-Lim."""

    mel = "dcgan_16k"

    def build(self) -> None:
        """Make the networks and Griffin-Lim.

        Raises:
            ValueError: a mel of other than 64 bands, or of values that are not in [-1, 1].
        """
        super().build()
        if self.preset.n_mels != SIZE or self.preset.limits != (-1.0, 1.0):
            raise InvalidValueError(
                f"the images have {SIZE} mel bands in [-1, 1], {self.mel} has others: set --model.mel"
            )
        self.griffin_lim = GriffinLim(self.preset)

    @property
    def length(self) -> int:
        """Samples that an image shows."""
        return SIZE * self.preset.hop_length

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the image `(batch, 1, bands, frames)` of the audio's beginning."""
        return self.front_end(batch["audio"][..., : self.length]).unsqueeze(1)

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, time)` of an image."""
        return self.griffin_lim(example.squeeze(1))


class PianorollDCGAN(DCGAN):
    """DCGAN on pianorolls of 64 steps and 64 pitches, a channel a track: a note is 1, what does not sound -1.

    A batch has `pianoroll` `(batch, tracks, steps, pitches)`, 1 and 0. Tracks are heard on a piano.

    Args:
        images: Number of tracks.
        lowest: MIDI number of the first pitch.
        steps_per_minute: Tempo at which a piano roll is played.
        tracks: Names of the tracks; those of the data by default.
        bars: Number of bars, 4 beats each; that of the data by default.
        beat_steps: Steps in a beat; that of the data by default.
    """

    mel = "hifigan_22k"
    images = 4
    lowest: MidiNumber = 34
    steps_per_minute: PositiveFloat = runtime(400.0)
    tracks: NonEmpty[str] | None = from_data()
    bars: PositiveInt | None = from_data()
    beat_steps: PositiveInt | None = from_data()

    @classmethod
    def values_from_data(cls, data: DataModule, values: Mapping[str, Any]) -> dict[str, FromData]:
        """Return the tracks, bars and steps of piano rolls, and the first pitch."""
        found = grid_from_data(data)
        if "tracks" in found:
            found["images"] = FromData(len(found["tracks"].value), "tracks")
        return super().values_from_data(data, values) | {n: v for n, v in found.items() if n != "pitches"}

    def setup(self, stage: str) -> None:
        """Check that the data's piano rolls have 64 pitches.

        Raises:
            ValueError: they have another number.
        """
        super().setup(stage)
        pitches = grid_from_data(data).get("pitches") if (data := data_module_of(self.trainer)) else None
        if pitches is not None and pitches.value != SIZE:
            raise InvalidValueError(f"pitches = {pitches.value}: the networks have {SIZE}: set --data.pitches {SIZE}")

    @property
    def length(self) -> int:
        """Steps of a pianoroll."""
        return SIZE

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the pianorolls `(batch, tracks, steps, pitches)` in [-1, 1]."""
        return 2 * batch["pianoroll"] - 1

    @property
    def traits(self) -> tuple[Trait, ...]:  # type: ignore[override]
        """What MuseGAN's paper measures of windows of these tracks."""
        return traits_of(self.grid.tracks)

    @property
    def pitches(self) -> int:
        """Number of pitches."""
        return SIZE

    @functools.cached_property
    def grid(self) -> Grid:
        """The tracks, steps and pitches of a piano roll."""
        return grid_of(self)

    def describe(self, example: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """Return what MuseGAN's paper measures, on average over the tracks."""
        return described((example[0] > 0).cpu().numpy(), self.grid)

    def voices(self, roll: Tensor) -> list[list[Note]]:
        """Return the notes, in steps, of each track of a pianoroll `(tracks, steps, pitches)`: what is above 0."""
        sounding = torch.nn.functional.pad((roll > 0).int().cpu(), (0, 0, 1, 1)).diff(dim=1)
        found: list[list[Note]] = []
        for track in sounding:
            starts, ends = ((track == edge).T.nonzero().tolist() for edge in (1, -1))
            notes = [Note(on, off - on, self.lowest + p) for (p, on), (_, off) in zip(starts, ends, strict=True)]
            found.append(sorted(notes, key=lambda note: note.onset))
        return found

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return what pianorolls sound like on a piano, `(batch, 1, time)`."""
        step = 60 / self.steps_per_minute
        played = []
        for roll in example:
            voices = [[Note(n.onset * step, n.duration * step, n.midi) for n in voice] for voice in self.voices(roll)]
            performed = [Performance(voice, PIANO, VELOCITY) for voice in voices]
            played.append(render(performed, SIZE * step, self.preset.sample_rate).sum(0))
        return torch.from_numpy(np.stack(played)[:, None]).to(example.device)

    def pictures(self, generated: Tensor, real: Tensor) -> dict[str, Image.Image]:
        """Return the pianorolls of a generated and a real example, one above the other."""
        return {"pianoroll": roll_picture([self.voices(example[0]) for example in (generated, real)], SIZE)}

    def stand_in(self) -> dict[str, Any]:
        """Return a batch of one in the shape of the data, every eighth place a note."""
        roll = (torch.arange(self.images * SIZE * SIZE) % 8 == 0).float()
        return {"pianoroll": roll.view(1, self.images, SIZE, SIZE), "key": ["stand-in"]}
