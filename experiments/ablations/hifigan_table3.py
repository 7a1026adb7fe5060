"""How much does each part of HiFi-GAN contribute? Its ablation table (Kong et al., 2020, table 3), small."""

from datamodules.bach_chorales import BachChorales
from experiments.hifigan_v3 import HiFiGANV3
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_scale import MultiScaleDiscriminator
from framework.sweeps.sweep import Sweep


class Full(HiFiGANV3):
    """HiFi-GAN V3 with all its parts, each of them small, on Bach for strings."""

    data = BachChorales.variant(instruments=("strings",), pieces=32, batch_size=2)
    channels = 128
    upsample_rates = (16, 4, 4)
    upsample_kernels = (32, 8, 8)
    learning_rate = 2e-3
    learning_rate_decay = 0.95
    gradient_clip = 20.0
    max_steps = 1_500
    val_check_interval = 500

    def build_discriminators(self) -> dict[str, Discriminator]:
        scales = MultiScaleDiscriminator(scales=2, channels=(16, 16, 32, 64, 64, 64, 64), groups=(1, 4, 4, 4, 4, 4, 1))
        periods = MultiPeriodDiscriminator(periods=(3, 7, 11), channels=(8, 32, 64, 64))
        return {"multi_period": periods, "multi_scale": scales}


class WithoutMPD(Full):
    """Without the multi-period discriminator."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_scale": super().build_discriminators()["multi_scale"]}


class WithoutMSD(Full):
    """Without the multi-scale discriminator."""

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_period": super().build_discriminators()["multi_period"]}


class WithoutMRF(Full):
    """Without multi-receptive-field fusion: one residual block a stage."""

    fusion = False


class WithoutMel(Full):
    """Without the mel-spectrogram loss."""

    mel_weight = 0.0


table3 = Sweep([Full, WithoutMPD, WithoutMSD, WithoutMRF, WithoutMel])
