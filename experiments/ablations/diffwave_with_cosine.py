from experiments.diffwave import DiffWaveBase
from framework.paradigms.noise_schedules import NoiseSchedule


class WithCosine(DiffWaveBase):
    """DiffWave BASE with the cosine schedule (Nichol & Dhariwal, 2021); sampled by all of its timesteps."""

    sampler = "ancestral"
    clip_sample = "clean"

    def build_schedule(self) -> NoiseSchedule:
        return NoiseSchedule.cosine(self.timesteps)
