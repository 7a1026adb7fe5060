"""SpecGAN: a GAN of spectrograms as images, made audible by Griffin-Lim (Donahue et al., 2019, section 3.2)."""

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.annotations import PositiveInt
from framework.audio.griffin_lim import fast_griffin_lim
from framework.checks import checked
from framework.discriminators.base import Discriminator
from framework.discriminators.waveform import SpecGANDiscriminator
from framework.generators.wavegan import ConvolutionalGenerator
from framework.losses.adversarial import AdversarialLoss, WassersteinGP
from framework.paradigms.noise_driven import NoiseDriven

N_FFT, HOP, SIZE = 256, 128, 128
OFFSET = 1e-6
DEVIATIONS = 3.0
"""Standard deviations that an image reaches to."""
ITERATIONS = 16
MOMENT_BATCHES = 100
"""Batches that mean and deviation of each bin are taken from before the training."""


class SpectrogramImage(nn.Module):
    """Log magnitudes as images in [-1, 1], standardised for each bin, and the way back (section 3.2).

    Images are `(batch, 1, frames, bins)`, 128 of each, as the official code has them: the highest bin is left out.
    """

    window: Tensor
    mean: Tensor
    deviation: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(N_FFT), persistent=False)
        self.register_buffer("mean", torch.zeros(N_FFT // 2 + 1))
        self.register_buffer("deviation", torch.ones(N_FFT // 2 + 1))

    def log_magnitudes(self, audio: Tensor) -> Tensor:
        """Return the natural log of magnitudes of audio `(batch, 1, 16384)`: `(batch, 128 frames, 129 bins)`."""
        frames = pad(audio[:, 0], (0, N_FFT - HOP)).unfold(-1, N_FFT, HOP)
        return (torch.fft.rfft(frames * self.window).abs() + OFFSET).log()

    def forward(self, audio: Tensor) -> Tensor:
        """Return images of audio `(batch, 1, 16384)`."""
        standard = (self.log_magnitudes(audio.float()) - self.mean) / self.deviation
        return (standard / DEVIATIONS).clamp(-1, 1)[:, None, :, :-1]

    def audio(self, image: Tensor) -> Tensor:
        """Return audio `(batch, 1, 16384)` of images, its phase found from random ones (Griffin & Lim, 1984)."""
        standard = DEVIATIONS * pad(image[:, 0].float(), (0, 1))
        magnitude = (standard * self.deviation + self.mean).exp().mT
        # The first frame's centre is a hop after the first sample, around which Griffin-Lim has a frame too.
        magnitude = torch.cat([magnitude[..., :1], magnitude], -1)
        phase = 2 * torch.pi * torch.rand_like(magnitude)
        return fast_griffin_lim(magnitude, self.window, N_FFT, HOP, ITERATIONS, momentum=0.0, phase=phase)[:, None]

    @torch.no_grad()
    def moments(self, audio: Tensor) -> Tensor:
        """Return the means of each bin's log magnitude and of its square, `(2, 129)`."""
        logs = self.log_magnitudes(audio.float()).double().flatten(0, 1)
        return torch.stack([logs.mean(0), logs.square().mean(0)])


class SpecGANGenerator(ConvolutionalGenerator):
    """SpecGAN's generator (table 5): noise `(batch, latent_dim)` -> images `(batch, 1, 128, 128)`, and their audio.

    Args:
        latent_dim: Dimensions of the noise, and of what is told beside it.
        channels: Width before the last convolution; before each earlier one there is twice as much.
    """

    @checked
    def __init__(self, latent_dim: PositiveInt = 100, channels: PositiveInt = 64) -> None:
        super().__init__((4, 4), latent_dim, channels, 5, 5, 2)


class SpecGAN(NoiseDriven):
    """SpecGAN with its official recipe (Donahue et al., 2019, section 3.2 and appendix C).

    Args:
        channels: Width of the outermost layers of generator and discriminator; each further in has twice as much.
    """

    mel = "ddsp_16k"
    learning_rate = 1e-4
    betas = (0.5, 0.9)
    critic_steps = 5
    channels: PositiveInt = 64

    def build(self) -> None:
        """Make the networks and the images, whose moments are part of a checkpoint."""
        super().build()
        self.image = SpectrogramImage()

    @property
    def length(self) -> int:
        """Samples that an image shows."""
        return HOP * SIZE

    def build_generator(self) -> SpecGANGenerator:
        return SpecGANGenerator(self.inputs, self.channels)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"spectrogram": SpecGANDiscriminator(self.channels, self.known_labels)}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return WassersteinGP()

    def setup(self, stage: str) -> None:
        """Take the moments of the training data; a checkpoint's, if there is one, are loaded afterwards."""
        super().setup(stage)
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit" and data is not None:
            self.take_moments(data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader())

    def on_train_start(self) -> None:
        """Take the moments of data without a data module, which Lightning loads only now."""
        super().on_train_start()
        batches: Any = self.trainer.train_dataloader
        if self.trainer.datamodule is None and self.global_step == 0:  # type: ignore[attr-defined]
            self.take_moments(batches)

    def take_moments(self, batches: Iterable[dict[str, Any]]) -> None:
        """Take the moments of the first batches, over all devices."""
        first = itertools.islice(batches, MOMENT_BATCHES)
        moments = torch.stack([self.image.moments(batch["audio"].to(self.device)) for batch in first]).mean(0)
        mean, power = self.trainer.strategy.reduce(moments, reduce_op="mean")
        self.image.mean.copy_(mean)
        self.image.deviation.copy_((power - mean.square()).clamp(min=OFFSET).sqrt())

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the image `(batch, 1, frames, bins)` of the audio's first 16,384 samples."""
        return self.image(batch["audio"][..., : self.length])

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, 16384)` of an image."""
        return self.image.audio(example)
