"""Profiling of training steps: a table of time and memory, and a trace for https://ui.perfetto.dev."""

import bisect
import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.profilers import Profiler
from torch import nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from framework.private_names.of_torch import profiler_results
from framework.writing import Tolerant, WriteError

MARK = "ostinato: "
LEFT_OUT = 3
"""Warm-up steps, which allocate, compile and fill caches."""
BACKWARD = "autograd::engine::evaluate_function"
HEAD = f"{'':44}{'calls':>7}{'ms':>10}{'share':>8}{'peak MiB':>10}"


class StepProfile(L.Callback):
    """Profiles some training steps, prints the time and memory of each part, and writes `trace.json.gz`.

    Parts are the data's loader, each network and each loss (forward, and its share of the backward passes), optimisers,
    logging and callbacks. The run then continues; its results do not change.

    Args:
        folder: The run's folder.
        steps: Number of steps.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        self.folder, self.steps = folder, steps
        self.seen = 0
        self.profiler: profile | None = None
        self.undo: list[Callable[[], Any]] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Begin after the warm-up steps, and end after the profiled steps."""
        self.seen += 1
        if not trainer.is_global_zero:
            return
        if self.seen == LEFT_OUT:
            self.begin(trainer, pl_module)
        elif self.seen == LEFT_OUT + self.steps and self.profiler is not None:
            self.end()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print why there is no table, if the training was too short."""
        if trainer.is_global_zero and self.seen < LEFT_OUT + self.steps:
            self.stop()
            wanted = f"{LEFT_OUT} steps that are left out and {self.steps} that are looked at"
            print(f"warning: no profile: the training had {self.seen} steps, not {wanted}", file=sys.stderr)

    def begin(self, trainer: L.Trainer, system: Any) -> None:
        """Mark the parts and start recording."""
        before = trainer.profiler  # type: ignore[attr-defined]
        trainer.profiler = Regions()  # type: ignore[attr-defined]
        self.undo = [lambda: setattr(trainer, "profiler", before), *mark_modules(modules(system))]
        for name, label in (("log_dict", "logging"), ("feature_matching", "loss feature_matching")):
            if hasattr(system, name):
                self.undo.append(mark_call(system, name, label))
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * torch.cuda.is_available()
        self.profiler = profile(activities=activities, profile_memory=True, acc_events=True)
        synchronise()
        self.profiler.start()

    def end(self) -> None:
        """Print the table and write the trace."""
        synchronise()
        profiled = self.stop()
        print("\n" + table(profiled, self.steps), file=sys.stderr)
        path = self.folder / "trace.json.gz"
        with Tolerant("traces"):
            try:
                profiled.export_chrome_trace(str(path))
            except OSError as error:
                path.unlink(missing_ok=True)
                raise WriteError(path, error) from error
            print(f"trace: {path}, for https://ui.perfetto.dev; the run goes on\n", file=sys.stderr, flush=True)

    def stop(self) -> Any:
        """Stop recording, remove the marks and return the profile."""
        profiled, self.profiler = self.profiler, None
        if profiled is not None:
            profiled.stop()
        for undo in self.undo:
            undo()
        self.undo = []
        return profiled


class Regions(Profiler):
    """Profiler of Lightning that marks its actions."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[str, list[record_function]] = defaultdict(list)

    def start(self, action_name: str) -> None:
        """Open the region of an action."""
        if label := self.label(action_name):
            region = record_function(MARK + label)
            region.__enter__()
            self.open[action_name].append(region)

    def stop(self, action_name: str) -> None:
        """Close it."""
        if self.open[action_name]:
            self.open[action_name].pop().__exit__(None, None, None)

    @staticmethod
    def label(action: str) -> str:
        """Return the label of an action in the table; empty for actions that contain others."""
        if action.endswith("train_dataloader_next"):
            return "data"
        if action.endswith("batch_to_device"):
            return "data to the device"
        if action.endswith("training_step"):
            return "the rest of the step"
        return "callbacks" if action.startswith(("[Callback]", "[LightningModule]", "[LightningDataModule]")) else ""


def modules(system: Any) -> dict[str, nn.Module]:
    """Return the modules of a system by their labels in the table."""
    found: dict[str, nn.Module] = {"front end": system.front_end}
    for name, network in system.networks().items():
        parts = network.items() if isinstance(network, nn.ModuleDict) else [("", network)]
        found |= {f"{name} {part}".strip(): module for part, module in parts}
    return found | {f"loss {name}": loss for name, loss in system.losses.items()}


def mark_modules(parts: dict[str, nn.Module]) -> Iterable[Callable[[], Any]]:
    """Mark the forward passes of modules; return functions that remove the marks."""
    for label, module in parts.items():
        regions: list[record_function] = []

        def enter(*_: Any, label: str = label, regions: list[record_function] = regions) -> None:
            regions.append(record_function(MARK + label))
            regions[-1].__enter__()

        def leave(*_: Any, regions: list[record_function] = regions) -> None:
            if regions:
                regions.pop().__exit__(None, None, None)

        yield module.register_forward_pre_hook(enter).remove
        yield module.register_forward_hook(leave, always_call=True).remove


def mark_call(owner: Any, name: str, label: str) -> Callable[[], Any]:
    """Mark the calls of an attribute that is not a module; return a function that removes the mark."""
    marked, own = getattr(owner, name), name in vars(owner)

    def call(*args: Any, **kwargs: Any) -> Any:
        with record_function(MARK + label):
            return marked(*args, **kwargs)

    setattr(owner, name, call)
    return (lambda: setattr(owner, name, marked)) if own else (lambda: delattr(owner, name))


def synchronise() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def table(profiled: Any, steps: int) -> str:
    """Return a line for each part, the longest first: calls, time, share of a step and peak memory."""
    on_gpu = torch.cuda.is_available()
    events = [event for event in profiled.events() if event.device_type == DeviceType.CPU]
    parts = attributed(events)
    within: dict[int, list[Any]] = defaultdict(list)
    for event, _, above in parts:
        within[id(above)].append(event)

    def spent(event: Any) -> float:
        return event.device_time_total if on_gpu else event.time_range.elapsed_us()

    calls: dict[str, int] = defaultdict(int)
    time: dict[str, float] = defaultdict(float)
    for event, part, _ in parts:
        calls[part] += not event.name.startswith(BACKWARD)
        time[part] += spent(event) - sum(map(spent, within[id(event)]))
    whole = max(e.time_range.end for e in events) - min(e.time_range.start for e in events)
    time["waiting for the CPU" if on_gpu else "the loop"] = whole - sum(time.values())
    peaks = peak_memory(profiled, parts, on_gpu)
    lines = [f"a step, slowed down by looking at it: {whole / steps / 1e3:.0f} ms, the mean of {steps}", HEAD]
    for part in sorted(time, key=lambda part: -time[part]):
        count = f"{calls[part] / steps:.3g}" if calls[part] else ""
        peak = f"{peaks[part]:.1f}" if part in peaks else ""
        lines.append(f"{part:44}{count:>7}{time[part] / steps / 1e3:10.2f}{time[part] / whole:8.1%}{peak:>10}")
    return "\n".join(lines)


def attributed(events: Iterable[Any]) -> list[tuple[Any, str, Any]]:
    """Return the events that make up the parts, the part of each, and the one of them that it is in.

    What the backward pass does for an operation belongs to the part that the operation was in: both have its number.
    """
    events = sorted(events, key=lambda event: event.time_range.start)
    part_of: dict[int, str] = {}
    for event in events:
        above = event if event.name.startswith(BACKWARD) else nearest(event)
        if event.sequence_nr >= 0 and above is not None and not above.name.startswith(BACKWARD):
            # Operations that nobody differentiates have the number of the next one that somebody does.
            part_of[event.sequence_nr] = label(above)
    found = []
    for event in events:
        if event.name.startswith(BACKWARD):
            forward = part_of.get(event.sequence_nr, "the rest of the step")
            found.append((event, f"{forward}, backward", nearest(event)))
        elif label(event):
            found.append((event, label(event), nearest(event)))
    return found


def label(event: Any) -> str:
    """Return the part that an event stands for; empty for none."""
    if event.name.startswith(MARK):
        return event.name.removeprefix(MARK)
    return "optimisers" if event.name.startswith("Optimizer.") else ""


def nearest(event: Any) -> Any:
    """Return the innermost event around one that stands for a part or for a step of the backward pass, or None."""
    above = event.cpu_parent
    while above is not None and not label(above) and not above.name.startswith(BACKWARD):
        above = above.cpu_parent
    return above


def peak_memory(profiled: Any, parts: Iterable[tuple[Any, str, Any]], on_gpu: bool) -> dict[str, float]:
    """Return the most memory (MiB) that was allocated at any time in each part, beyond what was at the beginning."""
    results = profiler_results(profiled)
    wanted = DeviceType.CUDA if on_gpu else DeviceType.CPU
    changes = sorted(
        ((event.start_ns() - results.trace_start_ns()) / 1e3, event.nbytes())
        for event in results.events()
        if event.name() == "[memory]" and event.device_type() == wanted
    )
    times = [time for time, _ in changes]
    levels = list(itertools.accumulate((size for _, size in changes), initial=0))
    peaks: dict[str, float] = defaultdict(float)
    for event, part, _ in parts:
        first, last = (bisect.bisect(times, time) for time in (event.time_range.start, event.time_range.end))
        peaks[part] = max(peaks[part], max(levels[first : last + 1]) / 2**20)
    return peaks
