"""The composer model of MuseGAN's paper."""

from datamodules.pianorolls import MidiPianorolls
from framework.generators.musegan.system import PaperMuseGAN


class MuseGANComposer(PaperMuseGAN):
    """MuseGAN of its paper: one composer of all tracks."""

    data = MidiPianorolls.variant(batch_size=320, beat_steps=24, pitches=84)
    players = "composer"
