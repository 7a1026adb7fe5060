from experiments.hifigan_v3 import HiFiGANV3
from framework.discriminators.base import Discriminator
from framework.discriminators.sub_band_cqt import MultiScaleSubBandCQTDiscriminator


class WithLearntCQT(HiFiGANV3):
    """HiFi-GAN V3 with the constant-Q discriminator added, whose kernels are learnt as well."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        cqt = MultiScaleSubBandCQTDiscriminator(self.preset.sample_rate, trainable=True)
        return super().build_discriminators() | {"cqt": cqt}
