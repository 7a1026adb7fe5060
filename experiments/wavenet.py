"""WaveNet."""

from datamodules.bach_chorales import BachChorales
from framework.generators.wavenet.system import WaveNet


class UnconditionalWaveNet(WaveNet):
    """Unconditional music by 30 layers and a softmax over 256 levels (van den Oord et al., 2016, section 3.3)."""

    data = BachChorales.variant(segment=16384, batch_size=8, validation_clips=4)
    max_steps = 500_000
    val_check_interval = 5_000
