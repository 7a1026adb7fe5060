from experiments.hifigan_v3 import HiFiGANV3
from framework.annotations import NonNegativeFloat
from framework.losses.stft import MultiResolutionSTFTLoss


class WithSTFT(HiFiGANV3):
    """HiFi-GAN V3 with the multi-resolution STFT loss of Parallel WaveGAN added."""

    stft_weight: NonNegativeFloat = 2.5

    def build_losses(self) -> dict:
        return super().build_losses() | {"stft": MultiResolutionSTFTLoss()}
