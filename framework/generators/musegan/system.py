"""MuseGAN: adversarial generation of several tracks as pianorolls (Dong et al., 2018)."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import one_hot

from datamodules.packing.midi import read_midi
from datamodules.pianorolls import pianoroll
from framework.annotations import MidiNumber, NonEmpty, PositiveFloat, PositiveInt, Range
from framework.audio.files import save_audio
from framework.data_module import DataModule, FromData
from framework.discriminators.base import Discriminator
from framework.discriminators.musegan import MuseGANDiscriminator, TutorialDiscriminator
from framework.discriminators.musegan_paper import PaperDiscriminator
from framework.errors import InvalidValueError
from framework.generators.musegan.networks import MuseGANGenerator, TutorialGenerator
from framework.generators.musegan.paper import PaperGenerator
from framework.generators.musegan.tracks import (
    described,
    grid_from_data,
    grid_of,
    measured,
    notes_of,
    program_of,
    traits_of,
)
from framework.hyperparameters import added, from_data, runtime
from framework.losses.adversarial import AdversarialLoss, WassersteinGP
from framework.music.grid import Grid
from framework.music.notes import Note
from framework.music.roll_pictures import roll_picture
from framework.music.song_midi import save_midi
from framework.music.soundfont import Performance, render
from framework.paradigms.adversarial import Adversarial
from framework.paradigms.system import Losses
from framework.traits import Trait

SAMPLES = 8
"""Number of samples for the energy score of each held-out window."""
VELOCITY = 90


class MuseGAN(Adversarial):
    """MuseGAN as the official code has it today: a Wasserstein GAN with gradient penalty on pianorolls.

    The monitored metric is `energy_score`, as of all systems from noise, of what the paper measures of a window (empty
    bars, used pitch classes, qualified notes of each track, tonal distance of neighbouring tracks): it is least where
    these are distributed as in the held-out windows.

    Args:
        latent_dim: Dimensions of the noise.
        refinement: How training binarises what the critic sees, with a straight-through gradient (Dong & Yang, 2018):
            at a half, or at random by the value as a probability; or not at all.
        binarisation: How what is generated becomes notes.
        tempo_bpm: Tempo at which a window is heard.
        tracks: Names of the tracks; those of the data by default.
        bars: Number of bars of a window, 4 beats each; that of the data by default.
        beat_steps: Steps in a beat; that of the data by default.
        lowest: MIDI number of the first pitch; that of the data by default.
        pitches: Number of pitches; that of the data by default.
    """

    reconstructs_input: ClassVar[bool] = False
    monitor: ClassVar[str] = "validation/energy_score"
    network_shape: ClassVar[Mapping[str, int]] = {"beat_steps": 12, "pitches": 84}
    """Dimensions that the networks have whatever the data are."""

    learning_rate = 1e-3
    betas = (0.5, 0.9)
    weight_decay = 0.0
    learning_rate_decay = 1.0
    feature_matching_weight = 0.0
    critic_steps = 5
    max_steps = 50_000
    latent_dim: PositiveInt = 128
    refinement: Literal["none", "hard", "bernoulli"] = "none"
    binarisation: Literal["hard", "bernoulli"] = runtime("hard")
    tempo_bpm: PositiveFloat = runtime(90.0)
    tracks: NonEmpty[str] | None = from_data()
    bars: Annotated[int, Range(2)] | None = from_data()
    beat_steps: PositiveInt | None = from_data()
    lowest: MidiNumber | None = from_data()
    pitches: Annotated[int, Range(1, 128)] | None = from_data()

    @classmethod
    def values_from_data(cls, data: DataModule, values: Mapping[str, Any]) -> dict[str, FromData]:
        """Return the tracks, bars, steps and pitches of piano rolls."""
        return grid_from_data(data)

    @functools.cached_property
    def grid(self) -> Grid:
        """The tracks, steps and pitches of a window.

        Raises:
            ValueError: one of them is not known.
        """
        return grid_of(self)

    def build(self) -> None:
        """Build the networks.

        Raises:
            ValueError: the networks do not have the grid's steps or pitches.
        """
        for name, size in self.network_shape.items():
            if (wanted := getattr(self.grid, name)) != size:
                raise InvalidValueError(
                    f"{name} = {wanted}: the networks of {type(self).__name__} have {size}: set --data.{name} {size}"
                )
        super().build()

    def build_generator(self) -> nn.Module:
        return MuseGANGenerator(self.latent_dim, len(self.grid.tracks), self.grid.bars)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"tracks": MuseGANDiscriminator(len(self.grid.tracks), bars=self.grid.bars)}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return WassersteinGP()

    @property
    def noise_size(self) -> int:
        """Dimensions of all noise of a window."""
        return getattr(self.generator, "latent_dim", self.latent_dim)

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the pianoroll `(batch, tracks, steps, pitches)` as the critic sees it: `empty`, or 1 for a note."""
        return self.to_network(batch["pianoroll"])

    def to_network(self, roll: Tensor) -> Tensor:
        """Return values between 0 and 1 as the networks have them."""
        return roll * (1 - self.empty) + self.empty

    def from_network(self, example: Tensor) -> Tensor:
        """Return the networks' values as ones between 0 and 1."""
        return ((example.float() - self.empty) / (1 - self.empty)).clamp(0, 1)

    @property
    def empty(self) -> float:
        """Value of a place without a note."""
        return getattr(self.generator, "empty", -1.0)

    def condition(self, batch: dict[str, Any]) -> Tensor:
        """Draw noise `(batch, size)` from a normal distribution."""
        return torch.randn(len(batch["key"]), self.noise_size, device=self.device)

    def produce(self, batch: dict[str, Any]) -> tuple[Tensor, Losses]:
        """Return the generator's pianorolls, binarised where the training refines."""
        fake = self.made(batch, self.generator)
        return (fake if self.refinement == "none" else self.binarised(fake, self.refinement)), {}

    def made(self, batch: dict[str, Any], network: nn.Module) -> Tensor:
        """Return what a network makes of noise, values as they come."""
        return network(self.condition(batch))

    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Return binarised pianorolls of `eval_generator`."""
        return self.binarised(self.made(batch, self.eval_generator), self.binarisation)

    def binarised(self, example: Tensor, how: str) -> Tensor:
        """Return an example whose values are `empty` or 1, with the gradient of what they were."""
        share = self.from_network(example)
        notes = (share > (torch.rand_like(share) if how == "bernoulli" else 0.5)).float()
        return self.to_network(notes + share - share.detach())

    # Heard, seen, measured

    def voices(self, example: Tensor) -> list[list[tuple[Note, ...]]]:
        """Return the notes of each track of each example `(batch, tracks, steps, pitches)`, in steps."""
        rolls = (self.from_network(example) > 0.5).cpu().numpy()
        return [[notes_of(track, self.grid.lowest) for track in roll] for roll in rolls]

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, time)` of pianorolls, each track on its instrument."""
        step = 60 / self.tempo_bpm / self.grid.beat_steps
        played = []
        for voices in self.voices(example):
            performed = [
                Performance(
                    [Note(n.onset * step, n.duration * step, n.midi) for n in notes], program_of(name), VELOCITY
                )
                for name, notes in zip(self.grid.tracks, voices, strict=True)
            ]
            played.append(render(performed, self.grid.steps * step, self.preset.sample_rate).sum(0))
        return torch.from_numpy(np.stack(played)[:, None]).to(example.device)

    def pictures(self, generated: Tensor, real: Tensor) -> dict[str, Image.Image]:
        """Return the pianorolls of a generated and a real example, one above the other."""
        rolls = [self.voices(example[:1])[0] for example in (generated, real)]
        return {"pianoroll": roll_picture(rolls, self.grid.steps)}

    @torch.no_grad()
    def write(self, batch: dict[str, Any], path: Path) -> None:
        """Write what is generated for a batch of one, as audio and, beside it, as MIDI."""
        example = self.generate(batch)
        save_audio(path, self.render(example, batch)[0], self.preset.sample_rate)
        tracks: dict[str, Sequence[Note]] = dict(zip(self.grid.tracks, self.voices(example)[0], strict=True))
        programs = {name: program_of(name) for name in tracks}
        save_midi(path.with_suffix(".mid"), tracks, self.grid.beat_steps, self.tempo_bpm, programs)

    def batch_from_audio(self, audio: Tensor) -> dict[str, Any]:
        """Return what is generated from: nothing but noise, whatever the recording."""
        return {"key": [""]}

    @property
    def traits(self) -> tuple[Trait, ...]:  # type: ignore[override]
        """What the paper measures of a window of these tracks."""
        return traits_of(self.grid.tracks)

    def describe(self, example: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """Return what the paper measures, on average over the tracks."""
        return described((self.from_network(example[0]) > 0.5).cpu().numpy(), self.grid)

    def features(self, example: Tensor) -> np.ndarray:
        """Return what the paper measures of each example, by name in columns; nan where there is nothing to measure."""
        rolls = (self.from_network(example) > 0.5).unflatten(2, (self.grid.bars, -1)).cpu().numpy()
        return np.array([list(measured(roll, self.grid).values()) for roll in rolls])

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return the energy score of a held-out window, and the metrics' differences from the window's."""
        several = {n: v.expand(SAMPLES, *v.shape[1:]) for n, v in batch.items() if isinstance(v, Tensor)}
        made = self.features(self.generate(several | {"key": batch["key"] * SAMPLES}))
        real = self.features(self.example(batch))
        everything = np.nan_to_num(np.concatenate([real, made]))
        apart = np.linalg.norm(everything[:, None] - everything[None], axis=-1) / everything.shape[1] ** 0.5
        score = apart[0, 1:].mean() - apart[1:, 1:].sum() / (SAMPLES * (SAMPLES - 1)) / 2
        found = {"energy_score": torch.tensor(float(score))}
        # On average over the tracks, what is generated and, to compare it with, what is held out.
        for name, columns in self.columns().items():
            for whose, values in (("", made), ("_real", real)):
                found[name + whose] = torch.tensor(float(np.nan_to_num(values[:, columns]).mean()))
        return found

    def columns(self) -> dict[str, list[int]]:
        """Return by metric its columns of `features`."""
        blank = np.zeros((len(self.grid.tracks), self.grid.bars, self.grid.beat_steps * 4, self.grid.pitches), bool)
        names = [name.partition("/")[0] for name in measured(blank, self.grid)]
        return {name: [n for n, other in enumerate(names) if other == name] for name in dict.fromkeys(names)}

    def stand_in(self) -> dict[str, Any]:
        """Return a batch in the shape of the data, a window for each critic step, to look at one without data."""
        windows = self.critic_steps
        shape = (windows, len(self.grid.tracks), self.grid.steps, self.grid.pitches)
        roll = (torch.arange(int(np.prod(shape))) % 8 == 0).float().view(shape)
        return {"pianoroll": roll, "key": ["stand-in"] * windows}


class SmallMuseGAN(MuseGAN):
    """The networks and the recipe of the author's PyTorch tutorial.

    Args:
        monophonic: Whether a track has one note at a time, as voices do.
        note_edges: Whether the critic also sees where notes begin and end.
    """

    network_shape: ClassVar[Mapping[str, int]] = {"beat_steps": 4, "pitches": 72}

    critic_steps = 1
    monophonic: bool = added(False)
    note_edges: bool = added(False)

    def build_generator(self) -> nn.Module:
        return TutorialGenerator(
            self.latent_dim, len(self.grid.tracks), monophonic=self.monophonic, bars=self.grid.bars
        )

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"tracks": TutorialDiscriminator(len(self.grid.tracks), changes=self.note_edges, bars=self.grid.bars)}

    def binarised(self, example: Tensor, how: str) -> Tensor:
        """Return an example of notes, of which a monophonic track has the likeliest, or one drawn, or a rest."""
        if not self.monophonic:
            return super().binarised(example, how)
        share = self.from_network(example)
        choices = torch.cat([share, 1 - share.sum(-1, keepdim=True)], -1).clamp(min=0)
        chosen = choices.argmax(-1) if how == "hard" else torch.distributions.Categorical(choices).sample()
        notes = one_hot(chosen, choices.shape[-1])[..., :-1].to(share)
        return self.to_network(notes + share - share.detach())


class PaperMuseGAN(MuseGAN):
    """The paper's models: who composes, from what noise, beside which track.

    Args:
        players: One composer of all tracks; a jam of one for each; or a hybrid, with a noise for all beside its own.
        temporal: Whether noise through time is made by temporal generators.
        given: Name of the track that is accompanied; empty to make all.
        accompanied: A MIDI file, whose first bars' track is accompanied where no data is at hand.
    """

    network_shape: ClassVar[Mapping[str, int]] = {"bars": 4, "beat_steps": 24, "pitches": 84}

    learning_rate = 2e-4
    players: Literal["jamming", "composer", "hybrid"] = "hybrid"
    temporal: bool = True
    given: str = ""
    accompanied: str = runtime("")

    def build(self) -> None:
        """Make the networks.

        Raises:
            ValueError: the data has no track of the given one's name.
        """
        if self.given and self.given not in self.grid.tracks:
            raise InvalidValueError(f"given = {self.given!r}: the tracks are {', '.join(self.grid.tracks)}")
        super().build()

    @property
    def given_track(self) -> int | None:
        """Number of the track that is accompanied."""
        return self.grid.tracks.index(self.given) if self.given else None

    def build_generator(self) -> nn.Module:
        return PaperGenerator(self.players, len(self.grid.tracks), self.latent_dim, self.temporal, self.given_track)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"tracks": PaperDiscriminator(len(self.grid.tracks), self.players == "jamming")}

    def made(self, batch: dict[str, Any], network: nn.Module) -> Tensor:
        """Return what a network makes of noise, beside the given track."""
        if self.given_track is None:
            return super().made(batch, network)
        return network(self.condition(batch), self.example(batch)[:, [self.given_track]])

    def batch_from_audio(self, audio: Tensor) -> dict[str, Any]:
        """Return what is generated from: noise, and the given track of the MIDI file `accompanied`.

        Raises:
            ValueError: a track is to be accompanied, and no file is named.
        """
        if not self.given:
            return super().batch_from_audio(audio)
        if not self.accompanied:
            raise InvalidValueError(
                f"the {self.given} is accompanied: name a MIDI file that has it, by --model.accompanied FILE"
            )
        piece = read_midi(Path(self.accompanied))
        start = next((first for first, _ in piece.facts["in_four"]), 0)
        roll = pianoroll(piece, self.grid, start)
        return {"key": [""], "pianoroll": torch.from_numpy(roll)[None].to(self.device)}
