from experiments.ddsp_violin import DDSPViolin


class WithASine(DDSPViolin):
    """DDSP without a distribution over harmonics: a sine at f0, and noise."""

    harmonics = 1
