"""The hybrid model of MuseGAN's paper."""

from datamodules.pianorolls import MidiPianorolls
from framework.generators.musegan.system import PaperMuseGAN


class MuseGANHybrid(PaperMuseGAN):
    """The hybrid model of MuseGAN's paper: one generator per track, with shared and private noise."""

    data = MidiPianorolls.variant(batch_size=320, beat_steps=24, pitches=84)
    players = "hybrid"
