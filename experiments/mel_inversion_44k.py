"""Mel inversion at 44.1 kHz."""

from datamodules.bach_chorales import BachChorales
from framework.generators.mel_inversion import MelInversion


class MelInversion44k(MelInversion):
    """Mel inversion of full-band mels at 44.1 kHz, full size."""

    data = BachChorales.variant(sample_rate=44100, segment=34_816, batch_size=16)
    mel = "bigvgan_44k"
    iterations = 64
    mel_consistency_steps = 16
    warmup_steps = 1_000
    max_steps = 500_000
    val_check_interval = 5_000
