"""Multi-resolution STFT loss (Parallel WaveGAN: Yamamoto et al., 2020, section 2.2) with an analytical gradient."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from framework.annotations import PositiveFloat, PositiveInt
from framework.checks import checked
from framework.errors import InvalidValueError


def quarter_hops(*lengths: int) -> list[tuple[int, int, int]]:
    """Return resolutions with windows of these lengths (samples) and hops of a quarter of them."""
    return [(length, length // 4, length) for length in lengths]


class MultiResolutionSTFTLoss(nn.Module):
    """Spectral convergence plus L1 distance of log magnitudes, averaged over resolutions (equations 2 to 6).

    The values equal those of auraloss and ParallelWaveGAN. Spectral convergence is relative to the real audio, so the
    arguments cannot be swapped. It is one norm over the whole batch: loud clips outweigh quiet ones. Gradients are
    computed for the fake audio only, and second-order gradients are not supported.

    Args:
        resolutions: `(n_fft, hop length, window length)` of each transform (samples).
        eps: Lower bound of the power of a bin. The default is ParallelWaveGAN's; auraloss's default, 1e-8, changes the
            gradients of quiet bins.

    Raises:
        ValueError: an `n_fft` is odd or smaller than its window length.
    """

    @checked
    def __init__(
        self,
        resolutions: Sequence[tuple[PositiveInt, PositiveInt, PositiveInt]] = (
            (1024, 120, 600),
            (2048, 240, 1200),
            (512, 50, 240),
        ),
        eps: PositiveFloat = 1e-7,
    ) -> None:
        super().__init__()
        self.distances = nn.ModuleList(STFTDistance(*resolution, eps) for resolution in resolutions)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Return the unweighted loss of audio `(batch, channels, time)`, computed in float32 also inside autocast."""
        with torch.autocast(fake.device.type, enabled=False):
            fake, real = fake.float().flatten(0, 1), real.detach().float().flatten(0, 1)
            return torch.stack([distance(fake, real) for distance in self.distances]).mean()


class STFTDistance(nn.Module):
    """Spectral convergence plus L1 distance of log magnitudes at one resolution."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, win_length: int, eps: float) -> None:
        super().__init__()
        if n_fft % 2 or n_fft < win_length:
            raise InvalidValueError(f"n_fft = {n_fft} must be even and at least the window length, {win_length}")
        self.n_fft, self.hop_length, self.win_length, self.eps = n_fft, hop_length, win_length, eps
        before = (n_fft - win_length) // 2
        window = pad(torch.hann_window(win_length), (before, n_fft - win_length - before))
        self.register_buffer("window", window, persistent=False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Compare audio `(batch, time)`."""
        return cast(Tensor, _DistanceWithGradient.apply(fake, real, self))

    def spectra(self, audio: Tensor) -> Tensor:
        """Return the spectra `(batch, frames, bins)` of audio `(batch, time)`, with reflection padding."""
        padded = pad(audio, (self.n_fft // 2, self.n_fft // 2), mode="reflect")
        return torch.fft.rfft(padded.unfold(-1, self.n_fft, self.hop_length) * self.window)

    def adjoint(self, gradient: Tensor, length: int) -> Tensor:
        """Return the gradient `(batch, time)` of the audio from that of its spectra, which is modified in place."""
        # The inverse real transform counts all bins twice that have a counterpart at a negative frequency.
        gradient[..., 0] *= 2
        gradient[..., -1] *= 2
        frames = torch.fft.irfft(gradient, n=self.n_fft, norm="forward")
        padded = self.overlap(frames)
        edge = self.n_fft // 2
        audio = padded[:, edge : edge + length].clone()
        audio[:, 1 : edge + 1] += padded[:, :edge].flip(-1)
        audio[:, -edge - 1 : -1] += padded[:, edge + length : 2 * edge + length].flip(-1)
        return audio

    def overlap(self, frames: Tensor) -> Tensor:
        """Window frames `(batch, frames, n_fft)` and overlap-add them, with one shifted addition for each hop."""
        batch, count, hop = frames.shape[0], frames.shape[1], self.hop_length
        signal = frames.new_zeros(batch, count + -(-self.n_fft // hop), hop)
        before = (self.n_fft - self.win_length) // 2
        for block in range(before // hop, -(-(before + self.win_length) // hop)):
            part = frames[..., block * hop : (block + 1) * hop]
            window = self.window[block * hop : (block + 1) * hop]
            signal[:, block : block + count, : part.shape[-1]].addcmul_(part, window)
        return signal.flatten(1)


class _DistanceWithGradient(torch.autograd.Function):
    """The distance together with its gradient, which reuses the magnitudes: half the memory traffic of autograd.

    With magnitudes `f` and `r` of N bins, the derivative of `d = |f - r| / |r| + sum |log f - log r| / N` with respect
    to f is `(f - r) / (|f - r| |r|) + sign(f - r) / (f N)`. The derivative of f with respect to the spectrum X is
    `X / f` for bins above the lower bound.
    """

    @staticmethod
    def forward(ctx: Any, fake: Tensor, real: Tensor, distance: STFTDistance) -> Tensor:
        spectra = distance.spectra(torch.cat([fake, real]))
        power = spectra.real.square().addcmul_(spectra.imag, spectra.imag)
        f, r = power.clamp_(min=distance.eps).sqrt_().chunk(2)
        difference = f - r
        error, level = torch.linalg.vector_norm(difference), torch.linalg.vector_norm(r)
        value = error / level + (f / r).log_().abs_().mean()
        if ctx.needs_input_grad[0]:
            # Half of the gradient: see `adjoint`. If the error is zero, so is the gradient.
            convergence = 0.5 / (error.clamp(min=1e-30) * level)
            slope = (difference * convergence).addcdiv_(difference.sign_(), f, value=0.5 / f.numel())
            floor = torch.tensor(distance.eps, dtype=f.dtype).sqrt().item()
            slope /= torch.threshold_(f, floor, float("inf"))
            ctx.save_for_backward(distance.adjoint(spectra[: len(fake)].mul_(slope), fake.shape[-1]))
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return gradient * slope, None, None
