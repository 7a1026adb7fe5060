"""The Descript audio codec."""

from datamodules.bach_chorales import BachChorales
from framework.generators.codecs.dac import DAC


class DAC44k(DAC):
    """The Descript audio codec at 44.1 kHz and up to 7.75 kbit/s (Kumar et al., 2023)."""

    data = BachChorales.variant(sample_rate=44100, segment=16896, batch_size=72)
    max_steps = 400_000
    val_check_interval = 5_000
