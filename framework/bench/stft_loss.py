"""The multi-resolution STFT loss, forward and backward, beside auraloss and its formula written out in torch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import auraloss
import torch
from torch import Tensor

from framework.bench.harness import BenchError, Benchmark, Candidate
from framework.bench.machine import device, synchronise
from framework.losses.stft import MultiResolutionSTFTLoss

RESOLUTIONS, EPS = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240)), 1e-7
SIZES = ((4, 8192), (16, 8192), (4, 65536))
TOLERANCE = 1e-6
"""Largest relative difference of values from auraloss's."""
SLACK = 1.01
"""Largest ratio of the gradients' error (against float64) to the error of auraloss's gradients."""

Loss = Callable[[Tensor, Tensor], Tensor]


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield a benchmark for each batch size."""
    for batch, time in SIZES:
        generator = torch.Generator().manual_seed(0)
        real = 0.1 * torch.randn(batch, 1, time, generator=generator)
        fake = real + 0.05 * torch.randn(batch, 1, time, generator=generator)
        yield benchmark(f"{batch} segments of {time} samples", fake.to(device()), real.to(device()))


def benchmark(title: str, fake: Tensor, real: Tensor) -> Benchmark:
    """Return the benchmark on audio `(batch, 1, time)`."""
    losses: dict[str, Loss] = {
        "auraloss": peer(),
        "torch.stft and autograd": written_out,
        "ours": MultiResolutionSTFTLoss(RESOLUTIONS, EPS).to(fake.device),
    }

    def runner(loss: Loss) -> Callable[[], float]:
        def run() -> float:
            differentiate(loss, fake, real)
            synchronise()
            return len(fake)

        return run

    return Benchmark(
        title=title,
        unit="segments",
        baseline="auraloss",
        candidates=tuple(Candidate(name, runner(loss)) for name, loss in losses.items()),
        check=lambda: check(losses, fake, real),
        notes="ParallelWaveGAN's three resolutions; the gradient is that of the first argument.",
        memory=True,
    )


def differentiate(loss: Loss, fake: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Return a loss and the gradient of its first argument."""
    fake = fake.detach().requires_grad_()
    value = loss(fake, real)
    (gradient,) = torch.autograd.grad(value, fake)
    return value.detach(), gradient


def check(losses: dict[str, Loss], fake: Tensor, real: Tensor) -> str:
    """Compare values with auraloss's, and gradients with those in float64."""
    _, exact = differentiate(peer(torch.float64), fake.double(), real.double())
    found = {name: differentiate(loss, fake, real) for name, loss in losses.items()}
    value = found["auraloss"][0]
    values = {name: float((own - value).abs() / value) for name, (own, _) in found.items()}
    errors = {name: float((own - exact).norm() / exact.norm()) for name, (_, own) in found.items()}
    for name in losses:
        if not values[name] <= TOLERANCE:
            raise BenchError(f"the value of {name} differs from auraloss's by {values[name]:.1e} (relative)")
        if not errors[name] <= SLACK * errors["auraloss"]:
            raise BenchError(
                f"the gradient of {name} differs from float64 by {errors[name]:.2e}, "
                f"auraloss's by {errors['auraloss']:.2e}"
            )
    gradients = ", ".join(f"{name} {error:.3e}" for name, error in errors.items())
    return f"values within {max(values.values()):.1e} of auraloss's; gradients' errors against float64: {gradients}."


def peer(dtype: torch.dtype = torch.float32) -> Loss:
    """Return auraloss's loss, computed in a floating-point type."""
    sizes = [list(column) for column in zip(*RESOLUTIONS, strict=True)]
    loss = auraloss.freq.MultiResolutionSTFTLoss(*sizes, eps=EPS)
    for part in loss.stft_losses:
        part.window = part.window.to(device(), dtype)
    return loss


def written_out(fake: Tensor, real: Tensor) -> Tensor:
    """Return the loss, implemented directly from its equations with torch.stft."""
    total = fake.new_zeros(())
    for n_fft, hop_length, win_length in RESOLUTIONS:
        window = torch.hann_window(win_length, device=fake.device)
        f, r = (
            torch.stft(audio.squeeze(1), n_fft, hop_length, win_length, window, return_complex=True)
            for audio in (fake, real)
        )
        f, r = ((x.real.square() + x.imag.square()).clamp(min=EPS).sqrt() for x in (f, r))
        total = total + (r - f).norm() / r.norm() + (r.log() - f.log()).abs().mean()
    return total / len(RESOLUTIONS)
