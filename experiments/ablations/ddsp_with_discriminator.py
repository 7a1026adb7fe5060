from experiments.ddsp_violin import DDSPViolin
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_resolution import MultiResolutionDiscriminator


class WithDiscriminator(DDSPViolin):
    """DDSP against a multi-resolution discriminator, beside its spectral loss."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_resolution": MultiResolutionDiscriminator()}
