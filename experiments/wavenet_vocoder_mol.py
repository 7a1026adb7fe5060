"""r9y9's WaveNet vocoder with a mixture of logistics."""

from datamodules.bach_chorales import BachChorales
from framework.generators.wavenet.system import WaveNetVocoder
from framework.losses.likelihood import Distribution, LogisticMixture


class WaveNetVocoderMoL(WaveNetVocoder):
    """24 layers, each sample from a mixture of 10 logistics over 16 bit audio."""

    data = BachChorales.variant(segment=10240, batch_size=8, validation_clips=4)
    max_steps = 1_000_000
    val_check_interval = 5_000

    def build_distribution(self) -> Distribution:
        return LogisticMixture()
