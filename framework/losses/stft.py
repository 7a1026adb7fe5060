"""Multi-resolution STFT loss (Parallel WaveGAN: Yamamoto et al., 2020, section 2.2), with its gradient written out."""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from framework.annotations import PositiveFloat, PositiveInt
from framework.checks import checked
from framework.errors import InvalidValueError


class MultiResolutionSTFTLoss(nn.Module):
    """Spectral convergence plus L1 distance of log magnitudes, averaged over resolutions (equations 2 to 6).

    The numbers are those of auraloss and ParallelWaveGAN. Spectral convergence is relative to the real audio, so the
    two arguments cannot be exchanged. It is one norm over the whole batch: loud clips outweigh quiet ones. There is no
    gradient for the real audio, and none of second order.

    Args:
        resolutions: `(n_fft, hop length, window length)` of each transform (samples).
        eps: Smallest power of a bin; ParallelWaveGAN's value. auraloss's own, 1e-8, changes gradients of quiet bins.

    Raises:
        ValueError: when a transform is of odd length or shorter than its window.
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
        """Compare audio `(batch, channels, time)`, unweighted, in float32 whatever the surrounding autocast."""
        with torch.autocast(fake.device.type, enabled=False):
            fake, real = fake.float().flatten(0, 1), real.detach().float().flatten(0, 1)
            return torch.stack([distance(fake, real) for distance in self.distances]).mean()


class STFTDistance(nn.Module):
    """Spectral convergence plus L1 distance of log magnitudes at one resolution."""

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, win_length: int, eps: float) -> None:
        super().__init__()
        if n_fft % 2 or n_fft < win_length:
            raise InvalidValueError(f"n_fft = {n_fft} must be even and not below the window length, {win_length}")
        self.n_fft, self.hop_length, self.win_length, self.eps = n_fft, hop_length, win_length, eps
        before = (n_fft - win_length) // 2
        window = pad(torch.hann_window(win_length), (before, n_fft - win_length - before))
        self.register_buffer("window", window, persistent=False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Compare audio `(batch, time)`."""
        return cast(Tensor, _WrittenOut.apply(fake, real, self))

    def spectra(self, audio: Tensor) -> Tensor:
        """Return the spectra `(batch, frames, bins)` of audio `(batch, time)`, reflected at its ends."""
        padded = pad(audio, (self.n_fft // 2, self.n_fft // 2), mode="reflect")
        return torch.fft.rfft(padded.unfold(-1, self.n_fft, self.hop_length) * self.window)

    def adjoint(self, gradient: Tensor, length: int) -> Tensor:
        """Return the gradient `(batch, time)` of the audio from that of its spectra, which is overwritten."""
        # The inverse real transform counts the bins twice that stand for a negative frequency too.
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
        """Window frames `(batch, frames, n_fft)` and add them up where they lay, one shifted addition for each hop."""
        batch, count, hop = frames.shape[0], frames.shape[1], self.hop_length
        signal = frames.new_zeros(batch, count + -(-self.n_fft // hop), hop)
        before = (self.n_fft - self.win_length) // 2
        for block in range(before // hop, -(-(before + self.win_length) // hop)):
            part = frames[..., block * hop : (block + 1) * hop]
            window = self.window[block * hop : (block + 1) * hop]
            signal[:, block : block + count, : part.shape[-1]].addcmul_(part, window)
        return signal.flatten(1)


class _WrittenOut(torch.autograd.Function):
    """The distance and, while the magnitudes are at hand, its gradient: no graph, half the passes over memory.

    With magnitudes `f` and `r` of N bins, `d = |f - r| / |r| + sum |log f - log r| / N` has the slope
    `(f - r) / (|f - r| |r|) + sign(f - r) / (f N)` by f, and f that of `X / f` by the spectrum X where no bin is below
    the floor.
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
            # Half of it: see `adjoint`. Without any error there is a gradient of zero.
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
