"""A small Vocos."""

from torch import nn

from datamodules.bach_chorales import BachChorales
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_resolution import BandSplitDiscriminator
from framework.generators.vocos import Vocos
from framework.losses.stft import MultiResolutionSTFTLoss, quarter_hops


class VocosBach(Vocos):
    """A small Vocos on Bach for strings: minutes on two CPU cores.

    It is trained on segments of 128 frames: with 32, the network learns to tell from the padding at their ends where in
    a segment a frame is. The spectral loss has longer windows than a mel: phases that do not fit each other show
    between the partials. All steps train on the reconstruction losses; a lower `adversarial_start` adds the
    discriminators.
    """

    data = BachChorales.variant(instruments=("strings",), pieces=32, segment=32_768, batch_size=2)
    mel = "hifigan_22k"
    channels = 192
    hidden = 576
    layers = 6
    learning_rate = 2e-3
    warmup_steps = 100
    gradient_clip = 20.0
    stft_weight = 30.0
    adversarial_start = 5_000
    max_steps = 5_000
    val_check_interval = 1_250

    def build_losses(self) -> dict[str, nn.Module]:
        return super().build_losses() | {"stft": MultiResolutionSTFTLoss(quarter_hops(640, 1024, 3072))}

    def build_discriminators(self) -> dict[str, Discriminator]:
        periods = MultiPeriodDiscriminator(periods=(3, 7, 11), channels=(8, 32, 64, 64), first_map=1)
        return {"multi_period": periods, "multi_resolution": BandSplitDiscriminator((1024,), channels=8)}
