"""The experiment to start with."""

from datamodules.bach_chorales import BachChorales
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.generators.hifigan import HiFiGAN


class HiFiGANBach(HiFiGAN):
    """A small HiFi-GAN on Bach at the piano: minutes on two CPU cores."""

    data = BachChorales.variant(instruments=("piano",), pieces=40, batch_size=4)
    channels = 128
    upsample_rates = (4, 4, 4, 4)
    upsample_kernels = (8, 8, 8, 8)
    residual_block = 2
    kernels = (3, 7)
    dilations = ((1, 3), (2, 6))
    learning_rate = 2e-3
    adversarial_start = 3_000
    max_steps = 4_000
    val_check_interval = 500

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_period": MultiPeriodDiscriminator(channels=(8, 32, 64, 128))}
