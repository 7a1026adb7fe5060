"""UnivNet-c16."""

from datamodules.bach_chorales import BachChorales
from framework.generators.univnet import UnivNet


class UnivNetC16(UnivNet):
    """UnivNet with 16 channels, at 24 kHz (Jang et al., 2021)."""

    data = BachChorales.variant(sample_rate=24000, segment=16384, batch_size=32)
    max_steps = 1_000_000
