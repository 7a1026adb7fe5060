"""A small Parallel WaveGAN."""

from datamodules.bach_chorales import BachChorales
from framework.generators.parallel_wavegan import ParallelWaveGAN


class ParallelWaveGANBach(ParallelWaveGAN):
    """A small Parallel WaveGAN on Bach for strings: minutes on two CPU cores."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, batch_size=2)
    channels = 16
    layers = 10
    stacks = 2
    learning_rate = 2e-3
    adversarial_start = 3_000
    max_steps = 3_800
    val_check_interval = 950
