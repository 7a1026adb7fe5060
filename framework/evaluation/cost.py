"""Measures the cost of generation: time per second of audio, and memory."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import torch


class CostMeter:
    """Measures the time and the peak memory of generating clips.

    Args:
        device: Where they are generated.
        sample_rate: The sample rate of the clips (Hz).
    """

    def __init__(self, device: torch.device, sample_rate: int) -> None:
        self.device, self.sample_rate = device, sample_rate
        self.peak_memory: int | None = None
        self._spans: list[tuple[float, int]] = []

    @contextlib.contextmanager
    def clip(self, samples: int) -> Iterator[None]:
        """Context manager that measures the generation of `samples` samples."""
        known = self._forget_peak()
        self._wait()
        began = time.perf_counter()
        yield
        self._wait()
        self._spans.append((time.perf_counter() - began, samples))
        if known:
            self.peak_memory = max(self.peak_memory or 0, self._peak())

    @property
    def real_time_factor(self) -> float | None:
        """Real-time factor: seconds of computation per second of audio; below 1 is faster than real time.

        The first clip, which includes allocation and compilation, is left out if there are others.
        """
        spans = self._spans[1:] or self._spans
        return sum(s for s, _ in spans) * self.sample_rate / sum(n for _, n in spans) if spans else None

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _forget_peak(self) -> bool:
        """Reset the peak; return whether it can be measured."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return True
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def _peak(self) -> int:
        """Return the peak memory: PyTorch's allocations on a GPU, otherwise the peak of the whole process (Linux)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
