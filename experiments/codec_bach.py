"""A small codec."""

from datamodules.bach_chorales import BachChorales
from framework.discriminators.base import Discriminator
from framework.discriminators.dac import DACDiscriminator
from framework.generators.dac import DAC


class CodecBach(DAC):
    """A small codec on Bach for strings, after DAC: up to 4.8 kbit/s; minutes on two CPU cores."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, batch_size=2)
    mel = "hifigan_22k"
    encoder_channels = 8
    decoder_channels = 128
    rates = (4, 8, 8)
    codebooks = 8
    codebook_size = 128
    learning_rate = 1e-3
    warmup_steps = 100
    schedule = "cosine"
    gradient_clip = 100.0
    adversarial_start = 1_800
    max_steps = 2_000
    val_check_interval = 1_000

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"dac": DACDiscriminator((3, 7, 11), (1024,), period_channels=(8, 32, 64, 64), channels=8)}
