"""Melody and chords of a pop song, given their outline."""

from datamodules.pop909_levels import Pop909LeadSheets
from framework.generators.wholesong.system import WholeSongLevel


class WholeSongLeadSheet(WholeSongLevel):
    """Melody and chords of a pop song, given their outline: the third of four levels (Wang et al., 2024)."""

    data = Pop909LeadSheets
    width = 256
    max_steps = 500_000
    val_check_interval = 5_000
    precision = "bf16-mixed"
