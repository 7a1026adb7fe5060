"""A DiffWave to start with."""

from datamodules.stems import BachStems
from framework.generators.diffwave import DiffWave
from framework.generators.fourier import SpectrumDenoiser
from framework.paradigms.noise_schedules import NoiseSchedule, Objective, PredictClean


class DiffWaveBach(DiffWave):
    """DiffWave's diffusion on the voices of Bach's chorales, each a violin: eleven minutes on two CPU cores.

    In so short a time DiffWave's own network, at the sample rate, learns next to nothing: here one works on the noisy
    audio's spectrum. Tones stand out of the noise of DiffWave's own timesteps: here the last one is nearly pure noise.
    """

    data = BachStems.variant(
        instruments=("violin",),
        pieces=32,
        sample_rate=22050,
        segment=16384,
        batch_size=8,
        validation_clips=4,
        validation_seconds=2.0,
    )
    channels = 256
    layers = 6
    beta_start = 1e-5
    beta_end = 0.2
    fast_betas = (1e-5, 4e-4, 0.01, 0.11, 0.5, 0.9)
    clip_sample = "clean"
    ema_decay = 0.99
    learning_rate = 2e-3
    warmup_steps = 100
    schedule = "cosine"
    gradient_clip = 1.0
    max_steps = 1_500
    val_check_interval = 500

    def build_schedule(self) -> NoiseSchedule:
        return NoiseSchedule.quadratic(self.timesteps, self.beta_start, self.beta_end)

    def build_objective(self) -> Objective:
        return PredictClean(std=0.4)

    def build_generator(self) -> SpectrumDenoiser:
        return SpectrumDenoiser(self.build_schedule(), self.preset, self.channels, 3 * self.channels, self.layers)
