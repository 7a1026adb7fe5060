"""MelGAN."""

from datamodules.bach_chorales import BachChorales
from framework.generators.melgan import MelGAN as MelGANSystem


class MelGAN(MelGANSystem):
    """MelGAN with its official recipe (Kumar et al., 2019)."""

    data = BachChorales.variant(gain=(0.3, 1.0))
    max_steps = 2_500_000
