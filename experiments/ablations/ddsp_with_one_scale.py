from experiments.ddsp_violin import DDSPViolin


class WithOneScale(DDSPViolin):
    """DDSP whose spectral loss has one window length instead of six."""

    spectral_sizes = (2048,)
