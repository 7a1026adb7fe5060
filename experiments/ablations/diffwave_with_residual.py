from experiments.diffwave import DiffWaveBase
from framework.paradigms.noise_schedules import Objective, PredictResidual


class WithResidual(DiffWaveBase):
    """DiffWave BASE that predicts what a linear guess leaves (Karras et al., 2022), for speech of RMS 0.1."""

    def build_objective(self) -> Objective:
        return PredictResidual(0.1)
