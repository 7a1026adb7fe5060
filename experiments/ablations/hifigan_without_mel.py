from experiments.hifigan_v3 import HiFiGANV3


class WithoutMel(HiFiGANV3):
    """HiFi-GAN V3 without the mel-spectrogram loss (Kong et al., 2020, table 3)."""

    mel_weight = 0.0
