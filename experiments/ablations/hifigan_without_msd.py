from experiments.hifigan_v3 import HiFiGANV3
from framework.discriminators.base import Discriminator


class WithoutMSD(HiFiGANV3):
    """HiFi-GAN V3 without the multi-scale discriminator (Kong et al., 2020, table 3)."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {n: d for n, d in super().build_discriminators().items() if n != "multi_scale"}
