"""Describes the machine of a benchmark and its load, and measures the memory that a run allocates."""

import os
import platform
from collections.abc import Callable
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from framework.private_names.of_torch import processor_has_bf16


def machine() -> dict[str, Any]:
    """Return processor, cores, load, GPU, threads and versions by their names in the tables."""
    facts: dict[str, Any] = {"processor": _processor(), "cores": _cores()}
    if hasattr(os, "getloadavg"):
        facts["load of the last minute"] = round(os.getloadavg()[0], 1)
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        facts["GPU"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
    return facts | {
        "torch threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def device() -> torch.device:
    """Return the GPU if there is one, otherwise the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16() -> bool:
    """Whether `device()` has instructions for bf16; it is slow on processors without them."""
    if device().type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return processor_has_bf16()


def synchronise() -> None:
    """Wait until the GPU, if there is one, has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_memory(run: Callable[[], float]) -> int:
    """Return the peak of memory (bytes) that a run allocates, beyond the memory allocated before.

    On a GPU, PyTorch's allocator counts; on a CPU, PyTorch's profiler, which does not see numpy's allocations.
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    kineto = profiled.profiler.kineto_results if profiled.profiler else None
    events = [event for event in (kineto.events() if kineto else ()) if event.name() == "[memory]"]
    allocated = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        allocated += event.nbytes()
        highest = max(highest, allocated)
    return highest


def _cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
