"""A small Vocos."""

from datamodules.bach_chorales import BachChorales
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_resolution import BandSplitDiscriminator
from framework.generators.vocos import Vocos


class VocosBach(Vocos):
    """A small Vocos on Bach for strings: minutes on two CPU cores."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, batch_size=8)
    mel = "hifigan_22k"
    channels = 192
    hidden = 576
    layers = 6
    learning_rate = 2e-3
    warmup_steps = 100
    gradient_clip = 20.0
    adversarial_start = 4_600
    max_steps = 5_000
    val_check_interval = 1_250

    def build_discriminators(self) -> dict[str, Discriminator]:
        periods = MultiPeriodDiscriminator(periods=(3, 7, 11), channels=(8, 32, 64, 64), first_map=1)
        return {"multi_period": periods, "multi_resolution": BandSplitDiscriminator((1024,), channels=8)}
