"""What generating costs: time for each second of audio, and memory."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import torch


class CostMeter:
    """Measures the generation of clips, one after the other.

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
        """Measure what is done inside, which generates so many samples."""
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
        """Seconds that a second of audio takes to generate: under 1 is faster than it is heard.

        The first clip, which allocates and compiles, is left out where there are others.
        """
        spans = self._spans[1:] or self._spans
        return sum(s for s, _ in spans) * self.sample_rate / sum(n for _, n in spans) if spans else None

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def _forget_peak(self) -> bool:
        """Begin to look for the peak; return whether it can be known."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return True
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            return False
        return True

    def _peak(self) -> int:
        """Return the peak: of a GPU the memory that torch has allocated there, else Linux's of the whole process."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
