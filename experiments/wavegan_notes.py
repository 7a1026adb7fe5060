"""WaveGAN playing single notes of a chosen instrument."""

from datamodules.notes import Notes
from framework.generators.wavegan import WaveGAN


class WaveGANNotes(WaveGAN):
    """Notes of nine instruments, which a label chooses: a WaveGAN of a quarter of the width."""

    data = Notes.variant(batch_size=160, validation_clips=16, validation_seconds=1.024)
    label = "instrument"
    num_classes = 9
    channels = 16
    max_steps = 50_000
    val_check_interval = 2_500
