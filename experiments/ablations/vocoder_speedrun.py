"""How near the small vocoders come to the recordings after 1, 2, 4, 8 and 16 minutes of training on two CPU cores."""

from experiments.hifigan_bach import HiFiGANBach
from experiments.mel_inversion_bach import MelInversionBach
from experiments.vocos_bach import VocosBach
from framework.sweeps.sweep import Sweep


def lengths(experiment: type, *steps: int) -> Sweep:
    """Return trainings of these lengths, each with three seeds; learning rates fall over the length."""
    return Sweep([experiment], grid={"trainer.max_steps": steps}, seeds=[0, 1, 2])


speedrun = (
    lengths(MelInversionBach, 500, 1_000, 2_000, 4_000, 8_000)
    + lengths(VocosBach, 600, 1_200, 2_500, 5_000, 10_000)
    + lengths(HiFiGANBach, 480, 950, 1_900, 3_800, 7_600)
)
