from experiments.diffwave import DiffWaveBase


class With200Levels(DiffWaveBase):
    """DiffWave BASE trained on 200 levels of noise, as LARGE is."""

    levels = 200
    last_beta = 0.02
