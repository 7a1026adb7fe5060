from experiments.hifigan_v3 import HiFiGANV3
from framework.discriminators.base import Discriminator
from framework.discriminators.sub_band_cqt import MultiScaleSubBandCQTDiscriminator


class WithCQT(HiFiGANV3):
    """HiFi-GAN V3 with the multi-scale sub-band CQT discriminator added (Gu et al., 2024)."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        return super().build_discriminators() | {"cqt": MultiScaleSubBandCQTDiscriminator(self.preset.sample_rate)}
