"""r9y9's WaveNet vocoder with the paper's softmax."""

from datamodules.bach_chorales import BachChorales
from framework.generators.wavenet.system import WaveNetVocoder


class WaveNetVocoderMuLaw(WaveNetVocoder):
    """30 layers, each sample one of 256 levels."""

    data = BachChorales.variant(segment=10240, batch_size=8, validation_clips=4)
    layers = 30
    cycle = 10
    max_steps = 500_000
    val_check_interval = 5_000
