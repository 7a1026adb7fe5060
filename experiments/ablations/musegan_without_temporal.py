"""The contribution of the temporal generators."""

from experiments.musegan_hybrid import MuseGANHybrid


class WithoutTemporal(MuseGANHybrid):
    """All of a bar's noise is drawn for the bar."""

    temporal = False
