"""BigVGAN, version 2."""

from datamodules.bach_chorales import BachChorales
from framework.generators.bigvgan import BigVGAN2


class BigVGANV2(BigVGAN2):
    """BigVGAN's second version of 122 million parameters, at 44.1 kHz with 512 samples a frame."""

    data = BachChorales.variant(sample_rate=44100, segment=65536, batch_size=32)
    max_steps = 5_000_000
