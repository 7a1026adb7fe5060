"""Griffin-Lim whose audio is projected towards the mel."""

from experiments.griffin_lim import GriffinLim


class GriffinLimConsistent(GriffinLim):
    """Fast Griffin-Lim from log-mels, followed by 16 projections of the audio towards the mel."""

    mel_consistency_steps = 16
