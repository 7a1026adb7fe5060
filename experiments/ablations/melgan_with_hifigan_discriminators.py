from experiments.melgan import MelGAN
from framework.discriminators.base import Discriminator
from framework.generators.hifigan import hifigan_discriminators


class WithHiFiGANDiscriminators(MelGAN):
    """MelGAN's generator against HiFi-GAN's discriminators."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        return hifigan_discriminators()
