"""Latent diffusion: noise becomes the latents of an autoencoder, which makes audio of them (Rombach et al., 2022)."""

from typing import Any

import torch
from torch import Tensor, nn

from framework.annotations import NonNegativeInt, PositiveInt
from framework.audio.pitch_grid import MIDI_NUMBERS
from framework.checks import checked
from framework.data_module import data_module_of
from framework.generators.codecs.quantisation import gathered
from framework.generators.diffwave import DiffWaveNetwork, UnconditionalDiffWave, conv
from framework.generators.latent.pretrained import (
    NotTrainedError,
    Pretrained,
    check_rate,
    check_same,
    check_score,
    score_of,
)
from framework.hyperparameters import added, runtime


class LatentDenoiser(DiffWaveNetwork):
    """DiffWave's network over frames of latents `(batch, latent_dim, frames)` in the place of samples.

    Args:
        latent_dim: Channels of the latents.
        timesteps: Timesteps of noise.
        channels: Residual channels.
        layers: Residual layers.
        cycle: Layers after which the dilation begins at 1 again.
        num_classes: Number of classes of a class-conditional model; 0 for none.
        scored: Whether each frame is given the notes that sound in it, in the place of the mel.
    """

    @checked
    def __init__(
        self,
        latent_dim: PositiveInt,
        timesteps: PositiveInt,
        channels: PositiveInt,
        layers: PositiveInt,
        cycle: PositiveInt,
        num_classes: NonNegativeInt,
        scored: bool,
    ) -> None:
        super().__init__(timesteps, channels, layers, cycle, MIDI_NUMBERS if scored else 0, (1, 1), num_classes)
        if scored:
            # Notes come at the latents' own rate; the network has no hop that samples are counted by.
            self.spectrogram_upsampler = nn.Identity()
            del self.hop_length
        self.input_projection = conv(latent_dim, channels)
        self.output_projection = conv(channels, latent_dim)
        nn.init.zeros_(self.output_projection.weight)


class Standardisation(nn.Module):
    """Latents `(batch, latent_dim, frames)` to zero mean and unit deviation in each channel, once it has learnt them.

    Args:
        latent_dim: Channels of the latents.
    """

    mean: Tensor
    deviation: Tensor
    known: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim, 1))
        self.register_buffer("deviation", torch.ones(latent_dim, 1))
        self.register_buffer("known", torch.zeros((), dtype=torch.bool))

    def learn(self, frames: Tensor) -> None:
        """Take mean and deviation from frames `(n, latent_dim)`."""
        self.mean.copy_(frames.mean(0).unsqueeze(1))
        self.deviation.copy_(frames.std(0).clamp(min=1e-5).unsqueeze(1))
        self.known.fill_(True)

    def forward(self, latents: Tensor) -> Tensor:
        """Standardise latents."""
        return (latents - self.mean) / self.deviation

    def undone(self, latents: Tensor) -> Tensor:
        """Return the latents that standardised ones were."""
        return latents * self.deviation + self.mean


class LatentDiffusion(UnconditionalDiffWave):
    """Audio of its own, or of the class that a label names, by diffusion over a trained autoencoder's latents.

    The latents are brought to zero mean and unit deviation, channel by channel, as the first training batch has them.
    Which autoencoder it was is part of a run's identity.

    Args:
        autoencoder: Its run's folder, a checkpoint, or its experiment's name for the run that was trained last.
        scored: Whether each frame is given the notes that sound in it, the data's `score`; none where there is no such.
    """

    timesteps = 200
    beta_end = 0.05
    loss_type = "l2"
    sampler = "ancestral"
    clip_sample = "nothing"
    autoencoder: str = runtime("")
    scored: bool = added(False)

    def build(self) -> None:
        """Load the autoencoder and make the network.

        Raises:
            NotTrainedError: there is no such autoencoder, or it is not one of continuous latents.
        """
        self.latents = Pretrained(self.autoencoder)
        if self.latents.network.discrete:
            raise NotTrainedError(f"{self.latents.source} has codes, not latents: name a run of a VAE, as vae_bach")
        super().build()
        check_rate(self.latents, self.preset.sample_rate)
        self.standard = Standardisation(self.latent_dim)

    @property
    def latent_dim(self) -> int:
        """Channels of the latents."""
        return self.latents.network.latent_dim

    def relies_on(self) -> tuple[type, ...]:
        """Return the autoencoder's class."""
        return (type(self.latents.system),)

    def resolved(self) -> dict[str, Any]:
        """Return all that can change a result: the autoencoder is among it by what it is, not by where."""
        return super().resolved() | {"autoencoder": self.latents.fingerprint}

    def build_generator(self) -> LatentDenoiser:
        classes = self.num_classes if self.label else 0
        size = self.channels, self.layers, self.cycle
        return LatentDenoiser(self.latent_dim, self.timesteps, *size, classes, self.scored)

    def setup(self, stage: str) -> None:
        """Refuse a score at another rate than the latents.

        Raises:
            ValueError: naming the `score_hop` that the latents have.
        """
        super().setup(stage)
        if self.scored and (data := data_module_of(self.trainer)) is not None:
            check_score(self.latents, data)

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the labels `(batch,)` and the score `(batch, 128, frames)`, if the network takes them."""
        found = super().condition(batch)
        return found | {"mel": score_of(batch, self.latents.network.samples_per_frame)} if self.scored else found

    @torch.no_grad()
    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the latents `(batch, latent_dim, frames)` of the batch's audio."""
        latents = self.latents.network.encode(batch["audio"])
        if self.training and not self.standard.known:
            self.standard.learn(gathered(latents.transpose(1, 2).flatten(0, 1)))
        return self.standard(latents)

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, time)` of latents."""
        return self.latents.network.decode(self.standard.undone(example))

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that were trained on another autoencoder's latents."""
        super().on_load_checkpoint(checkpoint)
        check_same(self.latents, checkpoint)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep which autoencoder it was."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["autoencoder"] = self.latents.fingerprint
