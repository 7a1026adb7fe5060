from experiments.wavegan_notes import WaveGANNotes
from framework.losses.adversarial import AdversarialLoss, NonSaturating


class WithNonSaturating(WaveGANNotes):
    """WaveGAN on notes that plays the non-saturating game (Goodfellow et al., 2014, section 3)."""

    def build_adversarial_loss(self) -> AdversarialLoss:
        return NonSaturating()
