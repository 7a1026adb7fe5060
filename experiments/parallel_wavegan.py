"""Parallel WaveGAN."""

from datamodules.bach_chorales import BachChorales
from framework.generators.parallel_wavegan import ParallelWaveGAN as ParallelWaveGANSystem


class ParallelWaveGAN(ParallelWaveGANSystem):
    """Parallel WaveGAN with 30 layers (Yamamoto et al., 2020), by the official recipe for 22.05 kHz."""

    data = BachChorales.variant(segment=25600, batch_size=6)
    max_steps = 400_000
