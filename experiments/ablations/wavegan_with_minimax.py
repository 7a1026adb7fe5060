from experiments.wavegan_notes import WaveGANNotes
from framework.losses.adversarial import AdversarialLoss, Minimax


class WithMinimax(WaveGANNotes):
    """WaveGAN on notes that plays the minimax game itself (Goodfellow et al., 2014, equation 1)."""

    def build_adversarial_loss(self) -> AdversarialLoss:
        return Minimax()
