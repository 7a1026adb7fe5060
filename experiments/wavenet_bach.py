"""A WaveNet to start with."""

from datamodules.bach_chorales import BachChorales
from framework.generators.wavenet import WaveNetVocoder


class WaveNetBach(WaveNetVocoder):
    """A small WaveNet after mels on Bach for strings: ten minutes on two CPU cores."""

    data = BachChorales.variant(
        instruments=("strings",), pieces=32, segment=2048, batch_size=2, validation_clips=2, validation_seconds=2.0
    )
    mel = "hifigan_22k"
    layers = 10
    cycle = 10
    kernel = 2
    residual_channels = 32
    gate_channels = 64
    skip_channels = 64
    pre_emphasis = 0.0
    gain = 1.0
    ema_decay = 0.0
    learning_rate = 4e-3
    warmup_steps = 20
    schedule = "cosine"
    gradient_clip = 1.0
    max_steps = 2_400
    val_check_interval = 600
