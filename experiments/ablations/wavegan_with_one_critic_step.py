from datamodules.notes import Notes
from experiments.wavegan_notes import WaveGANNotes


class WithOneCriticStep(WaveGANNotes):
    """WaveGAN on notes whose critic takes one update to one of the generator."""

    data = Notes.variant(batch_size=32, validation_clips=16, validation_seconds=1.024)
    critic_steps = 1
