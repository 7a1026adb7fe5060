"""What mel inversion is worth beside Griffin-Lim, plain and projected towards the mel, over three trainings."""

from experiments.mel_inversion_bach import MelInversionBach
from framework.generators.griffin_lim import GriffinLimVocoder
from framework.sweeps.sweep import Sweep


class FastGriffinLim(GriffinLimVocoder):
    """Griffin-Lim from the inverted mel."""

    data = MelInversionBach.data


class ConsistentGriffinLim(FastGriffinLim):
    """Griffin-Lim from the inverted mel, projected towards it."""

    mel_consistency_steps = 16


baselines = Sweep([MelInversionBach], seeds=[0, 1, 2]) + Sweep([FastGriffinLim, ConsistentGriffinLim], seeds=[0])
