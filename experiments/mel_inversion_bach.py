"""The experiment to start with."""

from datamodules.bach_chorales import BachChorales
from framework.generators.mel_inversion import MelInversion


class MelInversionBach(MelInversion):
    """A small mel inversion on Bach for strings: minutes on two CPU cores."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, segment=9216, batch_size=8)
    channels = 192
    hidden = 576
    layers = 6
    learning_rate = 2e-3
    warmup_steps = 100
    max_steps = 2_000
    val_check_interval = 1_000
