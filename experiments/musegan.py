"""MuseGAN on a folder of MIDI files."""

from datamodules.pianorolls import MidiPianorolls
from framework.generators.musegan.system import MuseGAN


class MuseGANTracks(MuseGAN):
    """Drums, piano, guitar, bass and strings of a folder of MIDI files: the official code's sizes and recipe."""

    data = MidiPianorolls.variant(batch_size=320, beat_steps=12, pitches=84)
