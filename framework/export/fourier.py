"""Short-time Fourier transforms in real arithmetic, which every runtime has."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.generators.vocos import LOUDEST, FourierHead


class RealFourierHead(nn.Module):
    """Vocos' head without complex numbers: the inverse transform as a product with windowed cosines.

    Args:
        head: The one whose output it has.
    """

    basis: Tensor
    envelope: Tensor

    def __init__(self, head: FourierHead) -> None:
        super().__init__()
        n_fft, hop = head.n_fft, head.hop_length
        self.out, self.hop_length, self.overlap = head.out, hop, -(-n_fft // hop)
        self.edge = (n_fft if head.padding == "center" else n_fft - hop) // 2
        # What is left of the last hops that the windows reach into, behind the edge that is cut off.
        self.behind = self.overlap * hop - n_fft + self.edge
        samples, bins = torch.arange(n_fft), torch.arange(n_fft // 2 + 1)
        angles = 2 * math.pi / n_fft * (torch.outer(samples, bins) % n_fft).double()
        # All bins but the first and the last stand for one of negative frequency too.
        share = torch.full((len(bins),), 2.0 / n_fft, dtype=torch.double)
        share[0] = share[-1] = 1.0 / n_fft
        window = head.window.cpu().double()[:, None]
        waves = window * torch.cat([share * angles.cos(), -share * angles.sin()], dim=1)
        missing = (0, 0, 0, self.overlap * hop - n_fft)
        self.register_buffer("basis", pad(waves, missing).float())
        self.register_buffer("envelope", pad(window.square(), missing).float()[None])

    def forward(self, hidden: Tensor) -> Tensor:
        """Return audio `(batch, 1, time)` of hidden states `(batch, frames, channels)`."""
        log_magnitude, phase = self.out(hidden).transpose(1, 2).chunk(2, dim=1)
        magnitude = log_magnitude.exp().clamp(max=LOUDEST)
        frames = self.basis @ torch.cat([magnitude * phase.cos(), magnitude * phase.sin()], dim=1)
        weights = self.overlap_add(self.envelope.expand(-1, -1, frames.shape[-1]))
        return (self.overlap_add(frames) / weights).unsqueeze(1)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Add up frames `(batch, overlap * hop, frames)` at their places, without the edges: `(batch, time)`."""
        parts = frames.unflatten(1, (self.overlap, self.hop_length)).unbind(1)
        hops = sum(pad(part, (number, self.overlap - 1 - number)) for number, part in enumerate(parts))
        audio = hops.transpose(1, 2).flatten(1)  # type: ignore[union-attr]
        return audio[:, self.edge : audio.shape[-1] - self.behind]
