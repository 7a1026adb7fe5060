"""A diffusion vocoder to start with."""

from experiments.diffwave_bach import DiffWaveBach
from framework.generators.specgrad import SpecGrad
from framework.paradigms.noise_schedules import Objective, PredictResidual


class SpecGradBach(SpecGrad, DiffWaveBach):
    """The small DiffWave from noise of the mel's envelope, which has the melody from the first step on."""

    max_steps = 2_000

    def build_objective(self) -> Objective:
        return PredictResidual(1.0)
