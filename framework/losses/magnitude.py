"""Losses between STFT magnitudes, for networks that predict magnitudes rather than audio.

They are the two terms of the STFT loss (Yamamoto et al., 2020, equations 4 and 5). To compare audio,
`framework.losses.stft.MultiResolutionSTFTLoss` is faster.
"""

import torch
from torch import Tensor, nn


class LogMagnitudeLoss(nn.Module):
    """L1 distance of log magnitudes.

    Args:
        floor: Lower bound that magnitudes are clamped to.
    """

    def __init__(self, floor: float = 1e-7**0.5) -> None:
        super().__init__()
        self.floor = floor

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Compare magnitudes of equal shape `(...)`."""
        return (fake.clamp(min=self.floor).log() - real.clamp(min=self.floor).log()).abs().mean()


class SpectralConvergence(nn.Module):
    """Frobenius norm of the difference of magnitudes, divided by that of the real magnitudes, over the whole batch."""

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Compare magnitudes of equal shape `(...)`."""
        return torch.linalg.vector_norm(fake - real) / torch.linalg.vector_norm(real).clamp(min=1e-5)
