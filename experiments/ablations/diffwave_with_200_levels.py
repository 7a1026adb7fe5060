from experiments.diffwave import DiffWaveBase


class With200Levels(DiffWaveBase):
    """DiffWave BASE trained on 200 timesteps, as LARGE is."""

    timesteps = 200
    beta_end = 0.02
    fast_betas = (1e-4, 1e-3, 0.01, 0.05, 0.2, 0.7)
