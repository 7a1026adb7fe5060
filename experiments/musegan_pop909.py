"""MuseGAN composing melody, bridge and piano."""

from datamodules.pianorolls import MidiPianorolls
from framework.generators.musegan.system import MuseGAN


class MuseGANPop909(MuseGAN):
    """Melody, bridge and piano of POP909, by the official code's networks."""

    data = MidiPianorolls.variant(
        path="data/pop909", batch_size=320, beat_steps=12, pitches=84, tracks=("melody", "bridge", "piano")
    )
