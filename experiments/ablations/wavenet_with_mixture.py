from experiments.wavenet import UnconditionalWaveNet
from framework.losses.likelihood import Distribution, LogisticMixture


class WithMixture(UnconditionalWaveNet):
    """WaveNet with a mixture of 10 logistics in place of the softmax."""

    def build_distribution(self) -> Distribution:
        return LogisticMixture()
