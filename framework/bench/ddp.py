"""Training on two processes whose gradients are averaged, beside the same two processes that keep them apart."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torch.distributed
import torch.multiprocessing

from framework.bench.harness import BenchError, Benchmark, Candidate
from framework.bench.training import training
from framework.generators.hifigan import HiFiGAN
from framework.strategies import GradientAveraging

BATCH, SEGMENT = 4, 8192
TOLERANCE = 1e-6


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield the benchmark; this process is one of the two ranks."""
    threads = torch.get_num_threads()
    with follower() as (port, pipe), member(0, port, max(1, threads // 2)) as process:

        def run(how: str) -> float:
            try:
                pipe.send(how)
                done = process.do(how)
                pipe.recv()
                return done
            except (EOFError, OSError) as error:
                raise BenchError("the other process has ended") from error

        def check() -> str:
            error = run("check")
            if not error <= TOLERANCE:
                raise BenchError(f"averaged gradients differ by {error:.1e} from the mean of both ranks")
            return f"averaged gradients are the mean of both processes' to {error:.1e}."

        yield Benchmark(
            f"HiFi-GAN V2, two processes with {BATCH} segments of {SEGMENT} samples each",
            "steps",
            "apart",
            (Candidate("apart", lambda: run("apart")), Candidate("averaged", lambda: run("averaged"))),
            check,
            notes="gloo, both processes on this machine's cores; 1 - ratio is what averaging costs.",
        )


class Process:
    """One of the two ranks during a training."""

    def __init__(self, rank: int, steps: Any, system: Any) -> None:
        self.rank, self.steps, self.system = rank, steps, system
        self.averaging = GradientAveraging()

    def do(self, how: str) -> float:
        """Train a step with averaged or separate gradients and return 1, or check the average and return the error."""
        if how == "check":
            return self.check()
        strategy = self.system.trainer.strategy
        if how == "averaged":
            strategy.average_gradients = self.averaging.average_gradients
        self.steps.step()
        strategy.__dict__.pop("average_gradients", None)
        return 1.0

    def check(self) -> float:
        """Return the largest error of the averaged gradients; the ranks exchange their own gradients for this."""
        parameters = list(self.system.discriminators.parameters())
        generators = [torch.Generator().manual_seed(rank) for rank in (self.rank, 1 - self.rank)]
        means = []
        for parameter in parameters:
            own, other = (torch.randn(parameter.shape, generator=generator) for generator in generators)
            parameter.grad = own
            means.append((own + other) / 2)
        self.averaging.average_gradients(self.system.discriminators)
        return max(float((p.grad - mean).abs().max()) for p, mean in zip(parameters, means, strict=True))


@contextmanager
def member(rank: int, port: int, threads: int) -> Iterator[Process]:
    """Join the process group and start a training, which is stopped when the block ends."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        torch.manual_seed(rank)
        kind: Any = HiFiGAN.variant(channels=128)
        system = kind()
        with training(system, 0.1 * torch.randn(BATCH, 1, SEGMENT)) as steps:
            steps.step()
            yield Process(rank, steps, system)
    finally:
        torch.distributed.destroy_process_group()
        torch.set_num_threads(before)


@contextmanager
def follower() -> Iterator[tuple[int, Connection]]:
    """Start the other rank; yield the port of the process group and the pipe for its commands."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = torch.multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=follow, args=(theirs, port, max(1, torch.get_num_threads() // 2)), daemon=True)
    process.start()
    try:
        yield port, ours
        ours.send("end")
        process.join(60)
    finally:
        process.kill()


def follow(pipe: Connection, port: int, threads: int) -> None:
    """Entry point of the second rank: execute the commands of the first one until it closes the pipe."""
    with member(1, port, threads) as process:
        while (how := pipe.recv()) != "end":
            process.do(how)
            pipe.send("done")
