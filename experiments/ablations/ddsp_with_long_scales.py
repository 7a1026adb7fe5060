from experiments.ddsp_violin import DDSPViolin


class WithLongScales(DDSPViolin):
    """DDSP whose spectral loss has no windows under 16 ms."""

    spectral_sizes = (2048, 1024, 512, 256)
