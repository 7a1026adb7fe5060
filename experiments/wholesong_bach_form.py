"""Phrases of a chorale and their keys."""

from datamodules.chorale_levels import ChoraleForms
from framework.generators.wholesong.system import SmallSongLevel


class WholeSongBachForm(SmallSongLevel):
    """Phrases of a chorale and their keys: the first of four small levels."""

    data = ChoraleForms.variant(batch_size=8, validation_clips=2)
    max_steps = 500
    val_check_interval = 500
