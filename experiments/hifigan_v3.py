"""HiFi-GAN V3."""

from experiments.hifigan_v1 import HiFiGANV1


class HiFiGANV3(HiFiGANV1):
    """HiFi-GAN V3: fewer, larger upsampling stages and the lighter residual block (Kong et al., 2020, table 1)."""

    channels = 256
    upsample_rates = (8, 8, 4)
    upsample_kernels = (16, 16, 8)
    residual_block = 2
    kernels = (3, 5, 7)
    dilations = ((1, 2), (2, 6), (3, 12))
