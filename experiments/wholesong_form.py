"""Keys and phrases of a pop song."""

from datamodules.pop909_levels import Pop909Forms
from framework.generators.wholesong.system import WholeSongLevel


class WholeSongForm(WholeSongLevel):
    """Keys and phrases of a pop song: the first of four levels (Wang et al., 2024)."""

    data = Pop909Forms
    width = 12
    max_steps = 100_000
    val_check_interval = 5_000
    precision = "bf16-mixed"
