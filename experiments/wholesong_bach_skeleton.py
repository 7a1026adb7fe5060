"""The soprano's skeleton and the harmony of a chorale, given its form."""

from datamodules.chorale_levels import ChoraleSkeletons
from framework.generators.wholesong.system import SmallSongLevel


class WholeSongBachSkeleton(SmallSongLevel):
    """The soprano's skeleton and the harmony of a chorale, given its form: the second of four small levels."""

    data = ChoraleSkeletons.variant(batch_size=8, validation_clips=2)
    max_steps = 2_000
    val_check_interval = 2_000
