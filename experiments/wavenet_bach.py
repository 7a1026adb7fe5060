"""A WaveNet to start with."""

from datamodules.stems import BachStems
from framework.generators.wavenet.system import WaveNetVocoder


class WaveNetBach(WaveNetVocoder):
    """A small WaveNet after mels on the voices of Bach's chorales, each a violin: ten minutes on two CPU cores."""

    data = BachStems.variant(
        instruments=("violin",),
        pieces=32,
        sample_rate=22050,
        segment=2048,
        batch_size=2,
        validation_clips=2,
        validation_seconds=2.0,
    )
    mel = "hifigan_22k"
    mel_mean = -5.0
    mel_std = 2.5
    layers = 10
    cycle = 10
    kernel = 2
    residual_channels = 32
    gate_channels = 64
    skip_channels = 64
    normed = False
    pre_emphasis = 0.0
    gain = 1.0
    ema_decay = 0.0
    learning_rate = 4e-3
    warmup_steps = 20
    schedule = "cosine"
    gradient_clip = 1.0
    temperature = 0.5
    max_steps = 2_400
    val_check_interval = 600
