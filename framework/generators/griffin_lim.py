"""Griffin-Lim as a system: what no training at all achieves, measured and heard as any other system is."""

from framework.annotations import NonNegativeFloat, NonNegativeInt
from framework.audio.griffin_lim import GriffinLim
from framework.hyperparameters import added
from framework.paradigms.system import System


class GriffinLimVocoder(System):
    """Griffin-Lim vocoder (Griffin & Lim, 1984; Perraudin et al., 2013): nothing in it is learnt.

    Args:
        iterations: Projections between the consistent spectrograms and those of the given magnitude.
        momentum: Acceleration alpha of the fast algorithm (Perraudin et al., 2013, algorithm 2); 0 is that of 1984.
        random_phase: Start from random phases rather than from zero.
        mel_consistency_steps: Projections of the audio towards the mel afterwards, which take out part of the error
            that the inexact phase leaves in the mel.
    """

    max_steps = 0
    iterations: NonNegativeInt = 32
    momentum: NonNegativeFloat = 0.99
    random_phase: bool = False
    mel_consistency_steps: NonNegativeInt = added(0)

    def build_generator(self) -> GriffinLim:
        return GriffinLim(self.preset, self.iterations, self.momentum, self.random_phase, self.mel_consistency_steps)
