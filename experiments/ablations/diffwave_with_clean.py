from experiments.diffwave import DiffWaveBase
from framework.paradigms.noise_schedules import Objective, PredictClean


class WithClean(DiffWaveBase):
    """DiffWave BASE that predicts the clean audio."""

    def build_objective(self) -> Objective:
        return PredictClean()
