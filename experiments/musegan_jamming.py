"""The jamming model of MuseGAN's paper."""

from datamodules.pianorolls import MidiPianorolls
from framework.generators.musegan.system import PaperMuseGAN


class MuseGANJamming(PaperMuseGAN):
    """MuseGAN of its paper: a composer for each track, who do not know of each other."""

    data = MidiPianorolls.variant(batch_size=320, beat_steps=24, pitches=84)
    players = "jamming"
