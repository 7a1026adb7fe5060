"""WaveGAN as published (Donahue et al., 2019)."""

from datamodules.notes import Notes
from framework.generators.wavegan import WaveGAN


class WaveGANOfficial(WaveGAN):
    """WaveGAN of 16,384 samples, here of single notes: 64 clips for each of the critic's five updates."""

    data = Notes.variant(labels=(), batch_size=320, validation_clips=16, validation_seconds=1.024)
    max_steps = 200_000
    val_check_interval = 5_000
