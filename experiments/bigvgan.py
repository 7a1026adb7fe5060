"""BigVGAN."""

from experiments.bigvgan_base import BigVGANBase


class BigVGANLarge(BigVGANBase):
    """BigVGAN of 112 million parameters, at 24 kHz: more, smaller upsampling stages (Lee et al., 2023)."""

    mel = "bigvgan_24k"
    data = BigVGANBase.data.variant(sample_rate=24000)
    channels = 1536
    upsample_rates = (4, 4, 2, 2, 2, 2)
    max_steps = 5_000_000
