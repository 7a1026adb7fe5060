"""L1 distance between log-mel spectrograms (HiFi-GAN: Kong et al., 2020, equation 4)."""

from torch import Tensor, nn
from torch.nn.functional import l1_loss

from framework.audio.mel import MelPreset, MelSpectrogram


class MelLoss(nn.Module):
    """Mean absolute difference of log-mel spectrograms.

    HiFi-GAN conditions on bands up to 8 kHz and compares all of them: `MelLoss(preset("hifigan_22k").full_band())`.

    Args:
        preset: Mel convention to compare in.
    """

    def __init__(self, preset: MelPreset) -> None:
        super().__init__()
        self.mel = MelSpectrogram(preset)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Compare audio `(batch, 1, time)`, unweighted."""
        return l1_loss(self.mel(fake), self.mel(real.detach()))
