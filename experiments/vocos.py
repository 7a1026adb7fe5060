"""Vocos."""

from datamodules.bach_chorales import BachChorales
from framework.generators.vocos import Vocos as VocosSystem


class Vocos(VocosSystem):
    """Vocos on mels at 24 kHz, as published (Siuzdak, 2024)."""

    data = BachChorales.variant(sample_rate=24000, segment=16384, batch_size=16)
    max_steps = 1_000_000
    val_check_interval = 5_000
