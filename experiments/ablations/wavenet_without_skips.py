from experiments.wavenet import UnconditionalWaveNet


class WithoutSkips(UnconditionalWaveNet):
    """WaveNet whose last layer alone leads to the output."""

    skip_channels = 0
