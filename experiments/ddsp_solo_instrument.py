"""DDSP for one instrument."""

from datamodules.stems import BachStems
from framework.generators.ddsp.system import DDSP


class DDSPSoloInstrument(DDSP):
    """DDSP for one instrument in the official size, by the paper's recipe (Engel et al., 2020, section 4)."""

    data = BachStems.variant(
        instruments=("violin",), pieces=364, segment=64_000, batch_size=32, validation_clips=8, f0_hop=64
    )
    max_steps = 30_000
    val_check_interval = 1_000
