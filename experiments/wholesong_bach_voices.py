"""Alto and tenor of a chorale, given its outer voices, harmony and form."""

from datamodules.chorale_levels import ChoraleInnerVoices
from framework.generators.wholesong.system import SmallSongLevel


class WholeSongBachVoices(SmallSongLevel):
    """Alto and tenor of a chorale, given its outer voices, harmony and form: the fourth of four small levels."""

    data = ChoraleInnerVoices.variant(batch_size=8, validation_clips=2)
    max_steps = 1_200
    val_check_interval = 1_200
