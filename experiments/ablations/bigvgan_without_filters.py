from experiments.bigvgan_base import BigVGANBase


class WithoutFilters(BigVGANBase):
    """BigVGAN whose periodic activations alias (Lee et al., 2023)."""

    antialiased = False
