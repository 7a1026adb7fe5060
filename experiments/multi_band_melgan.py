"""Multi-band MelGAN."""

from datamodules.bach_chorales import BachChorales
from framework.generators.multi_band_melgan import MultiBandMelGAN as MultiBandMelGANSystem


class MultiBandMelGAN(MultiBandMelGANSystem):
    """Multi-band MelGAN with four bands, by ParallelWaveGAN's second recipe (Yang et al., 2021)."""

    data = BachChorales.variant(segment=16384, batch_size=64)
    max_steps = 1_000_000
