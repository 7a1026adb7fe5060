"""DiffWave LARGE."""

from experiments.diffwave import DiffWaveBase


class DiffWaveLarge(DiffWaveBase):
    """DiffWave LARGE: twice the channels and 200 timesteps (Kong et al., 2021, section 5.1)."""

    channels = 128
    timesteps = 200
    beta_end = 0.02
    fast_betas = (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.7)
