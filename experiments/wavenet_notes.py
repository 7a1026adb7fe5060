"""WaveNet playing single notes."""

from datamodules.notes import Notes
from framework.generators.wavenet.system import WaveNet


class WaveNetNotes(WaveNet):
    """Notes of nine instruments, which a label chooses (van den Oord et al., 2016, section 2.5)."""

    data = Notes.variant(sample_rate=22050, segment=16384, batch_size=8, labels=("instrument",), validation_clips=4)
    label = "instrument"
    num_classes = 9
    max_steps = 200_000
    val_check_interval = 5_000
