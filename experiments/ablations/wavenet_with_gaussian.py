from experiments.wavenet import UnconditionalWaveNet
from framework.losses.likelihood import Distribution, Gaussian


class WithGaussian(UnconditionalWaveNet):
    """WaveNet with a Gaussian in place of the softmax."""

    def build_distribution(self) -> Distribution:
        return Gaussian()
