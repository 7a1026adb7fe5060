"""Multi-resolution STFT loss (Parallel WaveGAN: Yamamoto et al., 2020, section 2.2), computed by auraloss."""

from collections.abc import Sequence

import auraloss
import torch
from torch import Tensor, nn


class MultiResolutionSTFTLoss(nn.Module):
    """Spectral convergence plus L1 distance of log magnitudes, averaged over resolutions (equations 2 to 6).

    Spectral convergence is relative to the real audio, so the two arguments cannot be exchanged. It is one norm over
    the whole batch: loud clips outweigh quiet ones.

    Args:
        resolutions: `(n_fft, hop length, window length)` of each transform (samples).
        eps: Smallest power of a bin; ParallelWaveGAN's value. auraloss's own, 1e-8, changes gradients of quiet bins.
    """

    def __init__(
        self,
        resolutions: Sequence[tuple[int, int, int]] = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)),
        eps: float = 1e-7,
    ) -> None:
        super().__init__()
        fft_sizes, hop_lengths, win_lengths = (list(sizes) for sizes in zip(*resolutions, strict=True))
        self.loss = auraloss.freq.MultiResolutionSTFTLoss(fft_sizes, hop_lengths, win_lengths, eps=eps)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Compare audio `(batch, 1, time)`, unweighted, in float32 whatever the surrounding autocast."""
        # auraloss views its input, which must therefore be contiguous.
        with torch.autocast(fake.device.type, enabled=False):
            return self.loss(x=fake.float().contiguous(), y=real.detach().float().contiguous())
