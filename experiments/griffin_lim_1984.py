"""Griffin-Lim without acceleration."""

from experiments.griffin_lim import GriffinLim


class GriffinLim1984(GriffinLim):
    """Griffin-Lim from log-mels as first published, without acceleration (Griffin & Lim, 1984)."""

    momentum = 0.0
