"""A GAN from noise to start with."""

from datamodules.notes import Notes
from framework.generators.dcgan import SpectrogramDCGAN


class DCGANNotes(SpectrogramDCGAN):
    """A small DCGAN on spectrograms of notes of nine instruments, which a label chooses: minutes on two CPU cores."""

    data = Notes.variant(batch_size=16, validation_clips=16, validation_seconds=1.024)
    label = "instrument"
    num_classes = 9
    channels = 16
    learning_rate = 1e-3
    ema_decay = 0.99
    max_steps = 1_000
    val_check_interval = 250
