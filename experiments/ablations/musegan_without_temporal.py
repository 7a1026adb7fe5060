"""What the temporal generators add."""

from experiments.musegan_hybrid import MuseGANHybrid


class WithoutTemporal(MuseGANHybrid):
    """All of a bar's noise is drawn for the bar."""

    temporal = False
