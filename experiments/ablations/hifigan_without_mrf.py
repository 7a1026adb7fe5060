from experiments.hifigan_v3 import HiFiGANV3


class WithoutMRF(HiFiGANV3):
    """HiFi-GAN V3 without multi-receptive-field fusion: one residual block a stage (Kong et al., 2020, table 3)."""

    fusion = False
