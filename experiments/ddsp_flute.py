"""The small DDSP for the flute."""

from experiments.ddsp_violin import DDSPViolin


class DDSPFlute(DDSPViolin):
    """A small DDSP that plays the flute: ten minutes on two CPU cores."""

    data = DDSPViolin.data.variant(instruments=("flute",))
