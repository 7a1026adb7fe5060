"""A DiffWave to start with."""

from datamodules.stems import BachStems
from framework.generators.diffwave import DiffWave, DiffWaveNetwork
from framework.paradigms.noise_schedules import NoiseSchedule, Objective, PredictResidual


class DiffWaveBach(DiffWave):
    """A small DiffWave on the voices of Bach's chorales, each a violin: ten minutes on two CPU cores.

    Tones stand out of the noise of DiffWave's own levels, so that a network has little need of the mel: here the last
    level is nearly pure noise.
    """

    data = BachStems.variant(
        instruments=("violin",),
        pieces=32,
        sample_rate=22050,
        segment=4096,
        batch_size=2,
        validation_clips=4,
        validation_seconds=2.0,
    )
    channels = 32
    layers = 10
    first_beta = 1e-5
    last_beta = 0.2
    fast_betas = (1e-5, 4e-4, 0.01, 0.11, 0.5, 0.9)
    clamped = "clean"
    ema_decay = 0.99
    learning_rate = 2e-3
    warmup_steps = 100
    schedule = "cosine"
    gradient_clip = 1.0
    max_steps = 3_000
    val_check_interval = 1_000

    def build_schedule(self) -> NoiseSchedule:
        return NoiseSchedule.quadratic(self.levels, self.first_beta, self.last_beta)

    def build_objective(self) -> Objective:
        return PredictResidual(0.4)

    def build_generator(self) -> DiffWaveNetwork:
        network = super().build_generator()
        if network.spectrogram_upsampler is not None:
            network.spectrogram_upsampler.interpolate()
        return network
