from experiments.diffwave import DiffWaveBase
from framework.paradigms.noise_schedules import Objective, PredictVelocity


class WithVelocity(DiffWaveBase):
    """DiffWave BASE that predicts the velocity (Salimans & Ho, 2022)."""

    def build_objective(self) -> Objective:
        return PredictVelocity()
