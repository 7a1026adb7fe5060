"""MuseGAN composing for four voices."""

from datamodules.pianorolls import BachPianorolls
from framework.generators.musegan.system import SmallMuseGAN


class MuseGANBach(SmallMuseGAN):
    """Four bars of a chorale, in the key it has, by the tutorial's networks: minutes on two CPU cores."""

    data = BachPianorolls.variant(shift=(0, 0), batch_size=32, validation_clips=16)
    monophonic = True
    note_edges = True
    critic_steps = 2
    max_steps = 1_200
    val_check_interval = 300
