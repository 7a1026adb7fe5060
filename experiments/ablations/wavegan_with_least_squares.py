from experiments.wavegan_notes import WaveGANNotes
from framework.losses.adversarial import AdversarialLoss, LeastSquares


class WithLeastSquares(WaveGANNotes):
    """WaveGAN on notes with least squares (Mao et al., 2017)."""

    def build_adversarial_loss(self) -> AdversarialLoss:
        return LeastSquares()
