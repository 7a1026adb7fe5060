from experiments.wavenet import UnconditionalWaveNet


class WithHalfTheField(UnconditionalWaveNet):
    """WaveNet with the same layers in cycles up to dilation 256: a receptive field of 1,541 samples."""

    cycle = 9
