from experiments.wavenet import UnconditionalWaveNet


class WithoutDilation(UnconditionalWaveNet):
    """WaveNet with the same layers, none dilated: a receptive field of 31 samples instead of 3,070."""

    cycle = 1
