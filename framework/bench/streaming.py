"""Streaming synthesis: HiFi-GAN and MelGAN given a mel in pieces of 16 frames, beside the whole mel at once."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from framework.bench.harness import BenchError, Benchmark, Candidate
from framework.generators.hifigan import HiFiGANGenerator
from framework.generators.melgan import MelGANGenerator

RATE, FRAMES, PIECE, TOLERANCE = 22050, 172, 16, 1e-6


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield a benchmark for each network."""
    torch.manual_seed(0)
    yield benchmark("HiFi-GAN V1", HiFiGANGenerator())
    yield benchmark("HiFi-GAN V2", HiFiGANGenerator(channels=128))
    yield benchmark("MelGAN", MelGANGenerator())


def benchmark(title: str, network: HiFiGANGenerator | MelGANGenerator) -> Benchmark:
    """Return the benchmark of a network."""
    network.eval()
    mel = torch.randn(1, 80, FRAMES)

    @torch.no_grad()
    def whole() -> Tensor:
        return network.prepared()(mel)

    def in_pieces() -> Tensor:
        return torch.cat(list(network.stream(mel.split(PIECE, dim=-1))), dim=-1)

    def check() -> str:
        difference = float((whole() - in_pieces()).abs().max())
        if difference > TOLERANCE:
            raise BenchError(f"pieces differ from the whole by {difference:.1e}")
        return f"largest difference of a sample {difference:.1e}" if difference else "bit for bit"

    def seconds(audio: Tensor) -> float:
        return audio.shape[-1] / RATE

    return Benchmark(
        f"{title} in pieces of {PIECE} frames",
        "seconds of audio",
        "whole",
        (Candidate("whole", lambda: seconds(whole())), Candidate("pieces", lambda: seconds(in_pieces()))),
        check,
        notes=f"{FRAMES} frames, batch 1; the whole as `synthesize` makes it.",
        memory=True,
    )
