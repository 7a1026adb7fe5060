"""A small HiFi-GAN."""

from datamodules.bach_chorales import BachChorales
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.generators.hifigan import HiFiGAN


class HiFiGANBach(HiFiGAN):
    """A small HiFi-GAN on Bach for strings: minutes on two CPU cores."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, batch_size=2)
    channels = 256
    upsample_rates = (16, 4, 4)
    upsample_kernels = (32, 8, 8)
    residual_block = 2
    kernels = (3,)
    dilations = ((1, 3),)
    learning_rate = 2e-3
    learning_rate_decay = 0.95
    gradient_clip = 20.0
    adversarial_start = 3_400
    max_steps = 3_800
    val_check_interval = 950

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_period": MultiPeriodDiscriminator(periods=(3, 7, 11), channels=(8, 32, 64, 64))}
