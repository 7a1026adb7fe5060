"""The piano of a pop song, given its lead sheet."""

from datamodules.pop909_levels import Pop909Accompaniments
from framework.generators.wholesong.system import WholeSongLevel


class WholeSongAccompaniment(WholeSongLevel):
    """The piano of a pop song, given its lead sheet: the fourth of four levels (Wang et al., 2024)."""

    data = Pop909Accompaniments
    width = 256
    max_steps = 500_000
    val_check_interval = 5_000
    precision = "bf16-mixed"
