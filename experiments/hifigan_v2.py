"""HiFi-GAN V2."""

from experiments.hifigan_v1 import HiFiGANV1


class HiFiGANV2(HiFiGANV1):
    """HiFi-GAN V2: V1 at a quarter of the width (Kong et al., 2020, table 1)."""

    channels = 128
