"""Soprano and bass of a chorale, given its harmony and form."""

from datamodules.chorale_levels import ChoraleOuterVoices
from framework.generators.wholesong.system import SmallSongLevel


class WholeSongBachOuter(SmallSongLevel):
    """Soprano and bass of a chorale, given its harmony and form: the third of four small levels."""

    data = ChoraleOuterVoices.variant(batch_size=8, validation_clips=2)
    max_steps = 1_200
    val_check_interval = 1_200
