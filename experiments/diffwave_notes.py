"""DiffWave playing single notes."""

from datamodules.notes import Notes
from framework.generators.diffwave import UnconditionalDiffWave


class DiffWaveNotes(UnconditionalDiffWave):
    """Notes of nine instruments, which a label chooses: the shape of Kong et al., 2021, section 5.3."""

    data = Notes.variant(sample_rate=22050, segment=16384, batch_size=8, labels=("instrument",), validation_clips=4)
    label = "instrument"
    num_classes = 9
    layers = 36
    cycle = 12
    timesteps = 200
    beta_end = 0.02
    sampler = "ancestral"
    max_steps = 500_000
    val_check_interval = 5_000
