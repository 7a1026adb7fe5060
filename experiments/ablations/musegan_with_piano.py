"""Accompaniment of a track by people."""

from experiments.musegan_hybrid import MuseGANHybrid


class WithPiano(MuseGANHybrid):
    """The piano is given, and accompanied."""

    given = "piano"
