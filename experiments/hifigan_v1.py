"""HiFi-GAN V1."""

from datamodules.bach_chorales import BachChorales
from framework.generators.hifigan import HiFiGAN


class HiFiGANV1(HiFiGAN):
    """HiFi-GAN V1: the largest, with the best sound (Kong et al., 2020, table 1)."""

    data = BachChorales
    max_steps = 2_500_000
