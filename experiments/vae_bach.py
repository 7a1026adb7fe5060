"""A small variational autoencoder."""

from torch import nn

from datamodules.bach_chorales import BachChorales
from framework.discriminators.base import Discriminator
from framework.discriminators.dac import DACDiscriminator
from framework.generators.codecs.vae import VAE
from framework.generators.fourier import SpectrumEncoder
from framework.generators.vocos import VocosDecoder


class VAEBach(VAE):
    """A small variational autoencoder on Bach for strings: 86 frames of 16 latents a second, from nets at that rate.

    All steps train on the reconstruction losses; a lower `adversarial_start` adds the discriminators.
    """

    data = BachChorales.variant(instruments=("strings",), pieces=32, batch_size=8)
    mel = "hifigan_22k"
    rates = (4, 8, 8)
    latent_dim = 16
    learning_rate = 1e-3
    warmup_steps = 100
    schedule = "cosine"
    gradient_clip = 100.0
    stft_weight = 30.0
    adversarial_start = 3_000
    max_steps = 3_000
    val_check_interval = 1_000

    def build_encoder(self, outputs: int) -> nn.Module:
        return SpectrumEncoder(outputs, 256, channels=192, hidden=576, layers=4)

    def build_decoder(self, inputs: int) -> nn.Module:
        return VocosDecoder(inputs, 256, channels=192, hidden=576, layers=4)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"dac": DACDiscriminator((3, 7, 11), (1024,), period_channels=(8, 32, 64, 64), channels=8)}
