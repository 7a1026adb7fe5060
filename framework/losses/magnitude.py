"""Losses between magnitudes of short-time spectra, for networks that predict those rather than audio.

They are the two terms of the STFT loss (Yamamoto et al., 2020, equations 4 and 5); of audio,
`framework.losses.stft.MultiResolutionSTFTLoss` is faster.
"""

import torch
from torch import Tensor, nn


class LogMagnitudeLoss(nn.Module):
    """L1 distance of log magnitudes.

    Args:
        floor: Smaller magnitudes count as this one.
    """

    def __init__(self, floor: float = 1e-7**0.5) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Compare magnitudes of any one shape."""
        return (fake.clamp(min=self.floor).log() - real.clamp(min=self.floor).log()).abs().mean()


class SpectralConvergence(nn.Module):
    """Norm of the difference of magnitudes, relative to that of the real ones, over the whole batch."""

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Compare magnitudes of any one shape."""
        return torch.linalg.vector_norm(fake - real) / torch.linalg.vector_norm(real).clamp(min=1e-5)
