"""Whole-song hierarchical generation: a cascade of diffusion models over images of a song (Wang et al., 2024)."""

from dataclasses import asdict
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from framework.annotations import Depth, NonEmpty, NonNegativeInt, PositiveFloat, PositiveInt, Range, UnitInterval
from framework.generators.wholesong.networks import SegmentEncoder, WholeSongNetwork
from framework.generators.wholesong.unet import UNet
from framework.hyperparameters import runtime
from framework.music.layouts import FORM, form_of
from framework.music.notes import Note
from framework.music.roll_pictures import roll_picture
from framework.music.songs import Song
from framework.music.soundfont import Performance, render
from framework.music.structure import FORM_TRAITS, TRAITS, form_traits, structure
from framework.paradigms.categorical import PredictCategories
from framework.paradigms.diffusion import Diffusion
from framework.paradigms.noise_schedules import (
    DDIM,
    Ancestral,
    NoiseSchedule,
    Objective,
    PredictVelocity,
    denoise,
)
from framework.traits import Trait

PIANO, VELOCITY = 0, 90


class WholeSongLevel(Diffusion):
    """One level of whole-song generation (Wang et al., 2024): a diffusion model over images of a song.

    The layout of its data says what it makes, what the levels above made, which it is given as further channels, and
    which earlier segments it attends to. The recipe is that of the official code.

    Args:
        channels: Number of channels of the U-Net's first resolution.
        multipliers: Factors of the channels at each resolution.
        attention: Resolutions with transformers.
        blocks: Residual blocks at each resolution.
        width: The width of the tokens that earlier segments become.
        masked: How often, in training, the background is hidden.
        empty: Value of an empty place in the image that is made, where 1 is a note.
        tempo_bpm: Tempo at which a window is heard.
    """

    reconstructs_input: ClassVar[bool] = False

    mel = "hifigan_22k"
    timesteps = 1000
    beta_start = 0.00085
    beta_end = 0.012
    loss_type = "l2"
    sampler = "ancestral"
    clip_sample = "clean"
    learning_rate = 5e-5
    gradient_clip = 10.0
    channels: PositiveInt = 64
    multipliers: NonEmpty[PositiveInt] = (1, 2, 4, 4)
    attention: tuple[NonNegativeInt, ...] = (2, 3)
    blocks: Depth = 2
    width: PositiveInt = 128
    masked: UnitInterval = 0.2
    empty: Annotated[float, Range(-1, below=1)] = 0.0
    tempo_bpm: PositiveFloat = runtime(76.0)

    def build_schedule(self) -> NoiseSchedule:
        return NoiseSchedule.quadratic(self.timesteps, self.beta_start, self.beta_end)

    def build_generator(self) -> nn.Module:
        layout = self.layout
        encoder = None
        if layout.segments:
            encoder = SegmentEncoder(layout.channels, layout.segment_rows, layout.pitch, layout.token_rows, self.width)
        unet = UNet(
            layout.channels, self.outputs, self.channels, self.multipliers, self.attention, self.blocks,
            tokens=self.width,
        )  # fmt: skip
        return WholeSongNetwork(unet, encoder, self.width)

    @property
    def outputs(self) -> int:
        """Channels that the network predicts."""
        return self.layout.front

    @property
    def layout(self) -> Any:
        """How the level's data shows a song as an image."""
        data: Any = self.data
        return data.layout

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return what the level makes, `(batch, front, time, pitch)`: `empty`, or 1 for a note."""
        return self.to_network(batch["image"][:, : self.layout.front])

    def to_network(self, front: Tensor) -> Tensor:
        """Return values between 0 and 1 as the network sees them."""
        return front * (1 - self.empty) + self.empty

    def from_network(self, example: Tensor) -> Tensor:
        """Return what the network made as values between 0 and 1."""
        return ((example - self.empty) / (1 - self.empty)).clamp(0, 1)

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the background, hidden now and then in training, and the earlier segments."""
        found: dict[str, Tensor] = {}
        if self.layout.channels > self.layout.front:
            background = batch["image"][:, self.layout.front :]
            if self.training and self.masked:
                hidden = torch.rand(len(background), 1, 1, 1, device=background.device) < self.masked
                background = torch.where(hidden, -1.0, background)
            found["background"] = background
        if self.layout.segments:
            found["segments"] = batch["segments"]
        return found

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return what a front sounds like by itself, on a piano."""
        seconds_a_row = 60 / self.tempo_bpm / self.layout.beat_rows
        played = []
        for voices in self.heard(example):
            performed = [
                Performance(
                    [Note(n.onset * seconds_a_row, n.duration * seconds_a_row, n.midi) for n in voice], PIANO, VELOCITY
                )
                for voice in voices
            ]
            played.append(render(performed, self.layout.window * seconds_a_row, self.preset.sample_rate).sum(0))
        return torch.from_numpy(np.stack(played)[:, None]).to(example.device)

    def heard(self, example: Tensor) -> list[list[tuple[Note, ...]]]:
        """Return the voices of each example, whose notes are in rows; none, where there is no song in it."""
        return [self.layout.heard(front) for front in self.from_network(example).float().cpu().numpy()]

    @property
    def traits(self) -> tuple[Trait, ...]:  # type: ignore[override]
        """The structure of the piece: of the form by itself, or of what is written to it."""
        return TRAITS if self.layout.channels > self.layout.front else FORM_TRAITS

    def describe(self, example: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """Return the structure of a window; nothing where the form has no phrase."""
        layout = self.layout
        front = self.from_network(example[0]).float().cpu().numpy()
        form = front if layout.channels == layout.front else batch["image"][0, -FORM:].cpu().numpy()
        try:
            phrases = form_of(form)
        except ValueError:
            return {}
        if form is front:
            return form_traits(phrases)
        # The form is written at the level's own rows, which are the grid of its notes.
        voices = {str(number): notes for number, notes in enumerate(layout.heard(front))}
        measured = asdict(structure(Song("", 1, 1, phrases, voices=voices), melody="0"))
        return measured | {"notes_a_beat": measured["notes_a_beat"] * layout.beat_rows}

    def pictures(self, generated: Tensor, real: Tensor) -> dict[str, Image.Image]:
        """Return the pianorolls of a generated and a real front, one above the other."""
        rolls = [self.heard(example[:1])[0] for example in (generated, real)]
        return {"pianoroll": roll_picture(rolls, self.layout.window)}

    def stand_in(self) -> dict[str, Any]:
        """Return a batch of one in the shape of the data, every eighth place a note: for looking at a step without."""
        layout = self.layout
        shapes = {"image": layout.window, "segments": layout.segment_rows}
        rolls = {
            name: (torch.arange(layout.channels * rows * layout.pitch) % 8 == 0).float()
            for name, rows in shapes.items()
        }
        return {name: roll.view(1, layout.channels, shapes[name], layout.pitch) for name, roll in rolls.items()} | {
            "key": ["stand-in"]
        }

    @torch.no_grad()
    def fill(self, batch: dict[str, Any], known: Tensor, noise: Tensor) -> Tensor:
        """Return a window's front `(batch, front, time, pitch)`, between 0 and 1, around what is known of it.

        At every step the clean image that the network sees is replaced, where it is known, by what is known: its noisy
        version then follows the very distribution of training.

        Args:
            batch: `image` and `segments` as in training; of the front, what is known.
            known: Where it is, 1 or 0, of the front's size.
            noise: Noise of the size of the front.
        """
        front, condition = self.example(batch), self.condition(batch)

        def inpainted(clean: Tensor) -> Tensor:
            return torch.where(known > 0, front, clean.clamp(-1, 1))

        made = denoise(
            lambda noisy, timesteps: self.eval_generator(noisy, timesteps, **condition),
            noise,
            self.trajectory(),
            self.objective,
            DDIM() if self.sampler == "ddim" else Ancestral(),
            clamp_clean=inpainted,
        )
        return self.from_network(made)


class SmallSongLevel(WholeSongLevel):
    """A level small enough for two CPU cores and minutes.

    Beside its size it differs from the official one in what makes few steps do: empty places are -1, as far from 0 as
    notes are; the network predicts which note each voice has, or velocities where there are no voices, on a cosine
    schedule, whose last timestep is pure noise.

    Args:
        one_note: Whether a voice is a choice of one note at a time, rather than places that are guessed one by one.
        temperature: Sampling temperature of that choice; 1 samples the distribution of the network.
    """

    channels = 32
    multipliers = (1, 2, 2)
    attention = (2,)
    blocks = 1
    width = 64
    masked = 0.0
    empty = -1.0
    sampling_steps = 50
    ema_decay = 0.99
    learning_rate = 2e-3
    gradient_clip = 1.0
    warmup_steps = 50
    schedule = "cosine"
    one_note: bool = True
    temperature: PositiveFloat = runtime(0.4)

    def build_schedule(self) -> NoiseSchedule:
        return NoiseSchedule.cosine(self.timesteps)

    def build_objective(self) -> Objective:
        return PredictCategories(self.groups, self.temperature) if self.groups else PredictVelocity()

    @property
    def groups(self) -> tuple[int, ...]:
        """Channels of which one place is chosen at a time; none where places are guessed one by one."""
        return self.layout.groups if self.one_note else ()

    @property
    def outputs(self) -> int:
        return PredictCategories(self.groups).outputs or super().outputs
