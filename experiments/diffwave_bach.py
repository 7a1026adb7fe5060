"""A DiffWave to start with."""

from datamodules.bach_chorales import BachChorales
from framework.generators.diffwave import DiffWave


class DiffWaveBach(DiffWave):
    """A small DiffWave on Bach for strings: ten minutes on two CPU cores."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, segment=4096, batch_size=4)
    mel = "hifigan_22k"
    channels = 32
    layers = 10
    ema_decay = 0.99
    learning_rate = 2e-3
    warmup_steps = 100
    schedule = "cosine"
    gradient_clip = 1.0
    max_steps = 2_400
    val_check_interval = 600
