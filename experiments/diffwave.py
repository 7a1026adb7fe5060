"""DiffWave BASE."""

from datamodules.bach_chorales import BachChorales
from framework.generators.diffwave import DiffWave


class DiffWaveBase(DiffWave):
    """DiffWave BASE: 30 layers of 64 channels, 50 timesteps, 6 steps to sample (Kong et al., 2021, section 5.1)."""

    data = BachChorales.variant(segment=15_872)
