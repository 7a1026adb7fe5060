"""The contribution of each part of mel inversion."""

from experiments.mel_inversion_bach import MelInversionBach
from framework.generators.griffin_lim import GriffinLimVocoder
from framework.sweeps.sweep import Sweep


class WithoutConvergence(MelInversionBach):
    """Without the spectral convergence in the loss."""

    spectral_convergence_weight = 0.0


class WithoutMagnitudeUpdates(MelInversionBach):
    """With magnitudes as the network predicts them."""

    magnitude_updates = 0


class WithoutSinglePass(MelInversionBach):
    """With Griffin-Lim from phases of zero."""

    initial_phase = "zero"


class WithoutGriffinLim(MelInversionBach):
    """With the phases of single-pass inversion as they are."""

    iterations = 0


class WithoutConsistency(MelInversionBach):
    """Without projections of the audio towards the mel."""

    mel_consistency_steps = 0


class WithoutNetwork(GriffinLimVocoder):
    """Griffin-Lim from the inverted mel, projected towards it."""

    data = MelInversionBach.data
    mel_consistency_steps = 16


parts = Sweep(
    [
        MelInversionBach,
        WithoutConvergence,
        WithoutMagnitudeUpdates,
        WithoutSinglePass,
        WithoutGriffinLim,
        WithoutConsistency,
        WithoutNetwork,
    ],
    seeds=3,
)
