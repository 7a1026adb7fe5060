"""r9y9's WaveNet vocoder with a Gaussian."""

from experiments.wavenet_vocoder_mol import WaveNetVocoderMoL
from framework.losses.likelihood import Distribution, Gaussian


class WaveNetVocoderGaussian(WaveNetVocoderMoL):
    """24 layers, each sample from a Gaussian."""

    def build_distribution(self) -> Distribution:
        return Gaussian()
