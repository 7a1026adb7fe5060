"""The hybrid model of MuseGAN's paper."""

from datamodules.pianorolls import MidiPianorolls
from framework.generators.musegan.system import PaperMuseGAN


class MuseGANHybrid(PaperMuseGAN):
    """MuseGAN of its paper: a composer for each track, with a noise for all beside its own."""

    data = MidiPianorolls.variant(batch_size=320, beat_steps=24, pitches=84)
    players = "hybrid"
