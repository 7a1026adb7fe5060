from experiments.wavenet import UnconditionalWaveNet


class WithoutGating(UnconditionalWaveNet):
    """WaveNet with ReLU in place of the gated units."""

    gated = False
