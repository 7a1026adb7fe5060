"""Short-time Fourier transforms in real arithmetic, as matrix products, for runtimes without complex numbers."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad

from framework.generators.fourier import Spectrum
from framework.generators.vocos import LOUDEST, FourierHead, ShortTimeFourier


class RealFourier(nn.Module):
    """A short-time Fourier transform and its inverse without complex numbers.

    Args:
        transform: The transform to replace.
    """

    analysis: Tensor
    synthesis: Tensor
    envelope: Tensor

    def __init__(self, transform: ShortTimeFourier) -> None:
        super().__init__()
        n_fft, hop = transform.n_fft, transform.hop_length
        self.hop_length, self.overlap = hop, -(-n_fft // hop)
        self.edge = (n_fft if transform.padding == "center" else n_fft - hop) // 2
        # The remaining part of the last hops that the windows overlap, after the padding is removed.
        self.behind = self.overlap * hop - n_fft + self.edge
        samples, bins = torch.arange(n_fft), torch.arange(n_fft // 2 + 1)
        angles = 2 * math.pi / n_fft * (torch.outer(samples, bins) % n_fft).double()
        window = transform.window.cpu().double()[:, None]
        waves = window * torch.cat([angles.cos(), -angles.sin()], dim=1)
        # All bins except the first and the last have a counterpart at a negative frequency.
        share = torch.full((len(bins),), 2.0 / n_fft, dtype=torch.double)
        share[0] = share[-1] = 1.0 / n_fft
        missing = (0, 0, 0, self.overlap * hop - n_fft)
        self.register_buffer("analysis", waves.T[:, None].float())
        self.register_buffer("synthesis", pad(waves * share.repeat(2), missing).float())
        self.register_buffer("envelope", pad(window.square(), missing).float()[None])

    def batch_from_audio(self, audio: Tensor) -> Tensor:
        """Return real and imaginary parts `(batch, 2, bins, frames)` of audio `(batch, 1, time)`."""
        return self.transform(pad(audio, (self.edge, self.edge)))

    def transform(self, padded: Tensor) -> Tensor:
        """Return real and imaginary parts of padded audio, which starts with the first frame and ends with the last."""
        return conv1d(padded, self.analysis, stride=self.hop_length).unflatten(1, (2, -1))

    def invert(self, parts: Tensor) -> Tensor:
        """Return the audio `(batch, 1, time)` of real and imaginary parts `(batch, 2, bins, frames)`."""
        frames = self.synthesis @ parts.flatten(1, 2)
        weights = self.overlap_add(self.envelope.expand(-1, -1, frames.shape[-1]))
        return (self.overlap_add(frames) / weights).unsqueeze(1)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Overlap-add frames `(batch, overlap * hop, frames)` and remove the padding: `(batch, time)`."""
        parts = frames.unflatten(1, (self.overlap, self.hop_length)).unbind(1)
        hops = sum(pad(part, (number, self.overlap - 1 - number)) for number, part in enumerate(parts))
        audio = hops.transpose(1, 2).flatten(1)  # type: ignore[union-attr]
        return audio[:, self.edge : -self.behind or None]


class RealFourierHead(nn.Module):
    """Vocos' head without complex numbers.

    Args:
        head: The head to replace.
    """

    def __init__(self, head: FourierHead) -> None:
        super().__init__()
        self.out, self.transform = head.out, RealFourier(head)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return audio `(batch, 1, time)` of hidden states `(batch, frames, channels)`."""
        log_magnitude, phase = self.out(hidden).transpose(1, 2).chunk(2, dim=1)
        magnitude = log_magnitude.exp().clamp(max=LOUDEST)
        return self.transform.invert(torch.stack([magnitude * phase.cos(), magnitude * phase.sin()], dim=1))


class RealSpectrum(nn.Module):
    """The spectrum of audio and its inverse, without complex numbers.

    Args:
        spectrum: The module to replace.
    """

    def __init__(self, spectrum: Spectrum) -> None:
        super().__init__()
        self.transform, self.scale = RealFourier(spectrum), float(spectrum.scale)

    def forward(self, audio: Tensor) -> Tensor:
        """Return the parts `(batch, 2, bins, frames)` of audio `(batch, 1, time)`."""
        return self.transform.batch_from_audio(audio) / self.scale

    def inverse(self, parts: Tensor) -> Tensor:
        """Return the audio `(batch, 1, time)` of parts."""
        return self.transform.invert(parts * self.scale)
