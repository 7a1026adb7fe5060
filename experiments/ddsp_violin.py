"""A DDSP to start with."""

from datamodules.stems import BachStems
from framework.generators.ddsp.system import DDSP


class DDSPViolin(DDSP):
    """A small DDSP that plays the violin, after Bach's melodies: ten minutes on two CPU cores."""

    data = BachStems.variant(
        instruments=("violin",), pieces=32, segment=8_192, batch_size=4, validation_clips=4, f0_hop=64
    )
    width = 128
    layers = 2
    units = 128
    reverb_length = 8_000
    learning_rate = 3e-3
    schedule = "cosine"
    max_steps = 1_200
    val_check_interval = 300
