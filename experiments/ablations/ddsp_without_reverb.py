from experiments.ddsp_violin import DDSPViolin


class WithoutReverb(DDSPViolin):
    """DDSP without a room: reverberation is left to harmonics and noise."""

    reverb_length = 0
