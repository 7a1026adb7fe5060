"""The small DDSP for the clarinet."""

from experiments.ddsp_violin import DDSPViolin


class DDSPClarinet(DDSPViolin):
    """A small DDSP that plays the clarinet: ten minutes on two CPU cores."""

    data = DDSPViolin.data.variant(instruments=("clarinet",))
