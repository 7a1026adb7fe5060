from experiments.ddsp_violin import DDSPViolin
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_resolution import MultiResolutionDiscriminator


class WithDiscriminator(DDSPViolin):
    """DDSP with an adversarial loss (multi-resolution discriminator) in addition to its spectral loss."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_resolution": MultiResolutionDiscriminator()}
