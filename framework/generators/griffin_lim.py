"""Griffin-Lim as a system: what no training at all achieves, measured and heard as any other system is."""

from framework.audio.griffin_lim import GriffinLim
from framework.paradigms.system import System


class GriffinLimVocoder(System):
    """Griffin-Lim vocoder (Griffin & Lim, 1984; Perraudin et al., 2013): nothing in it is learnt.

    Args:
        iterations: Projections between the consistent spectrograms and those of the given magnitude.
        momentum: Acceleration alpha of the fast algorithm (Perraudin et al., 2013, algorithm 2); 0 is that of 1984.
        random_phase: Start from random phases rather than from zero.
    """

    max_steps = 0
    iterations: int = 32
    momentum: float = 0.99
    random_phase: bool = False

    def build_generator(self) -> GriffinLim:
        return GriffinLim(self.preset, self.iterations, self.momentum, self.random_phase)
