"""L1 distance between log-mel spectrograms (HiFi-GAN: Kong et al., 2020, equation 4)."""

from torch import Tensor, nn
from torch.nn.functional import l1_loss

from framework.audio.mel import MelPreset, MelSpectrogram


class MelLoss(nn.Module):
    """Mean absolute difference of log-mel spectrograms.

    HiFi-GAN conditions on bands up to 8 kHz but computes this loss over the full band:
    `MelLoss(preset("hifigan_22k").full_band())`.

    Args:
        preset: The mel front end.
    """

    def __init__(self, preset: MelPreset) -> None:
        super().__init__()
        self.mel = MelSpectrogram(preset)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the unweighted loss of audio `(batch, 1, time)`."""
        return l1_loss(self.mel(fake), self.mel(real.detach()))
