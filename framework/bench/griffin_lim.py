"""Griffin-Lim: 32 iterations beside torchaudio's, on a few seconds of harmonics over noise.

Both compute the same result, which the check verifies; the project's iteration makes fewer passes over memory.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import torch
import torchaudio
from torch import Tensor

from framework.audio.griffin_lim import fast_griffin_lim
from framework.bench.harness import BenchError, Benchmark, Candidate

RATE, N_FFT, HOP_LENGTH, ITERATIONS, SECONDS = 22050, 1024, 256, 32, 4.0
LIMIT = 0.5
"""Largest difference (dB) by which the project's spectral convergence may be worse."""


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield benchmarks of Griffin-Lim (1984) and fast Griffin-Lim, each compared with torchaudio."""
    window = torch.hann_window(N_FFT)
    target = magnitude(tones(), window)
    for title, momentum in (("Griffin-Lim", 0.0), ("fast Griffin-Lim", 0.99)):
        yield benchmark(title, target, window, momentum)


def benchmark(title: str, target: Tensor, window: Tensor, momentum: float) -> Benchmark:
    """Return the benchmark with one value of the momentum."""

    def own() -> Tensor:
        return fast_griffin_lim(target, window, N_FFT, HOP_LENGTH, ITERATIONS, momentum)

    def theirs() -> Tensor:
        return torchaudio.functional.griffinlim(
            target, window, N_FFT, HOP_LENGTH, N_FFT, 1.0, ITERATIONS, momentum, None, rand_init=False
        )

    def check() -> str:
        ours, other = (convergence(found(), target, window) for found in (own, theirs))
        if ours > other + LIMIT:
            raise BenchError(f"spectral convergence {ours:.2f} dB, torchaudio's {other:.2f} dB")
        return f"spectral convergence {ours:.2f} dB, torchaudio's {other:.2f} dB"

    def seconds(audio: Tensor) -> float:
        return audio.shape[-1] / RATE

    return Benchmark(
        f"{title}, {ITERATIONS} iterations",
        "seconds of audio",
        "torchaudio",
        (Candidate("torchaudio", lambda: seconds(theirs())), Candidate("ostinato", lambda: seconds(own()))),
        check,
        notes=f"{SECONDS:g} s at {RATE} Hz, n_fft {N_FFT}, hop length {HOP_LENGTH}, phase from zero.",
        memory=True,
    )


def tones() -> Tensor:
    """Return decaying harmonics with faint noise as audio `(1, time)`."""
    time = torch.arange(int(SECONDS * RATE)) / RATE
    note = time % 0.5
    harmonics = sum(torch.sin(2 * math.pi * 220 * k * time) / k for k in range(1, 12))
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(0))
    return (0.25 * harmonics * torch.exp(-3 * note) + 1e-3 * noise)[None]


def magnitude(audio: Tensor, window: Tensor) -> Tensor:
    """Return the magnitudes `(batch, bins, frames)` of audio `(batch, time)`."""
    return torch.stft(audio, N_FFT, HOP_LENGTH, N_FFT, window, return_complex=True).abs()


def convergence(audio: Tensor, target: Tensor, window: Tensor) -> float:
    """Return the spectral convergence (dB) of audio `(batch, time)` with respect to target magnitudes."""
    difference = target - magnitude(audio, window)
    return 20 * math.log10(float(difference.norm() / target.norm()))
