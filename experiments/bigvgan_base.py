"""BigVGAN, the base model."""

from datamodules.bach_chorales import BachChorales
from framework.generators.bigvgan import BigVGAN


class BigVGANBase(BigVGAN):
    """BigVGAN of 14 million parameters, at 22 kHz (Lee et al., 2023)."""

    data = BachChorales.variant(batch_size=32)
    max_steps = 1_000_000
