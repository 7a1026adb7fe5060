"""Melody and chords of a pop song in outline, given its form."""

from datamodules.pop909_levels import Pop909Counterpoints
from framework.generators.wholesong.system import WholeSongLevel


class WholeSongCounterpoint(WholeSongLevel):
    """Melody and chords of a pop song in outline, given its form: the second of four levels (Wang et al., 2024)."""

    data = Pop909Counterpoints
    width = 128
    max_steps = 500_000
    val_check_interval = 5_000
    precision = "bf16-mixed"
