"""EnCodec."""

from datamodules.bach_chorales import BachChorales
from framework.generators.codecs.encodec import Encodec


class Encodec24k(Encodec):
    """EnCodec for mono audio at 24 kHz and 1.5 to 24 kbit/s (Défossez et al., 2023)."""

    data = BachChorales.variant(sample_rate=24000, segment=24000, batch_size=64)
    max_steps = 600_000
    val_check_interval = 2_000
