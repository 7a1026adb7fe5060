from experiments.ddsp_violin import DDSPViolin


class WithoutNoise(DDSPViolin):
    """DDSP of harmonics alone."""

    noise_bands = 0
