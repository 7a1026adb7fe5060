from experiments.diffwave import DiffWaveBase


class WithL2(DiffWaveBase):
    """DiffWave BASE with the squared error of the paper in place of the official code's L1 distance."""

    loss_type = "l2"
