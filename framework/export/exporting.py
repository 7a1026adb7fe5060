"""Vocoders, and decoders of codecs, as programs for other runtimes, for audio of any length from a few frames on.

The generator for synthesis is exported with weight normalisation removed. Every program is read again and held
against the generator itself before its file gets its name.
"""

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from framework.export.formats import FORMATS
from framework.export.programs import ExportError, Inputs, Program, program, traced
from framework.inference.channels_last import Vocoder
from framework.paradigms.system import System
from framework.progress import busy

CHECKED = ((1, 23), (1, 86), (2, 50))
"""Clips and frames of what a program is checked on; the second is what is timed."""
TURNS = 3


class Report(NamedTuple):
    """How an exported program compares with the generator.

    Args:
        difference: Greatest difference of two samples.
        snr: Least signal-to-noise ratio (dB).
        bytes: Size of the file.
        eager: Seconds that the generator takes in PyTorch for a second of audio.
        exported: The same of the program.
    """

    difference: float
    snr: float
    bytes: int
    eager: float
    exported: float


@torch.no_grad()
def export(system: System, path: Path, format: str, facts: Mapping[str, Any]) -> Report:
    """Write a system's program, which has been checked, and return how it compares.

    Args:
        system: A trained one, on the CPU and in evaluation.
        path: The path of the file.
        format: `onnx`, or `torch` for torch.export's.
        facts: What the file says of the system, as JSON.

    Raises:
        ExportError: there is no such program, or it makes other audio; no file is left.
    """
    exported = program(system)
    part = path.with_name(f".{path.stem}.part{FORMATS[format].suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    try:
        with busy("tracing the network") as shown:
            graph = traced(exported)
            shown.rename(f"writing {path.name}")
            FORMATS[format].write(exported, graph, part, json.dumps(dict(facts)))
            shown.rename(f"checking {path.name}")
            report = compared(exported, FORMATS[format].read(part), part.stat().st_size, system.preset.sample_rate)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return report


def compared(exported: Program, run: Callable[[Inputs], Tensor], size: int, sample_rate: int) -> Report:
    """Hold a program that was read again against its network.

    Raises:
        ExportError: it makes other audio.
    """
    differences, ratios = [], []
    for clips, frames in CHECKED:
        inputs = exported.example(clips, frames)
        wanted, made = exported.network(*inputs), run(inputs)
        if made.shape != wanted.shape:
            raise ExportError(f"of {frames} frames the program makes {tuple(made.shape)}, not {tuple(wanted.shape)}")
        differences.append((made - wanted).abs().max().item())
        ratios.append(signal_to_noise(wanted.double(), made.double()))
    # Python's own would pass over what is not a number.
    difference, ratio = torch.tensor(differences).max().item(), torch.tensor(ratios).min().item()
    if not ratio >= exported.faithful:
        raise ExportError(
            f"the program makes other audio than the network: {ratio:.0f} dB, differences up to "
            f"{difference:.1e}; it was removed"
        )
    inputs = exported.example(*CHECKED[1])
    # PyTorch's fastest way; synthesis has a faster one where there is a compiler.
    network: Any = exported.network.eager() if isinstance(exported.network, Vocoder) else exported.network
    seconds = network(*inputs).shape[-1] / sample_rate
    eager, program = (timed(call, inputs) / seconds for call in (lambda given: network(*given), run))
    return Report(difference, ratio, size, eager, program)


def signal_to_noise(wanted: Tensor, made: Tensor) -> float:
    """Return the ratio (dB) of a signal to what another one differs by; infinite where it does not."""
    error = (made - wanted).square().sum()
    return math.inf if error == 0 else (10 * torch.log10(wanted.square().sum() / error)).item()


def timed(run: Callable[[Inputs], Tensor], inputs: Inputs) -> float:
    """Return the median time (s) of a call after a first one."""
    spans = []
    for _ in range(TURNS + 1):
        began = time.perf_counter()
        run(inputs)
        spans.append(time.perf_counter() - began)
    return statistics.median(spans[1:])
