"""Exports vocoders and decoders of codecs to ONNX and torch.export, for inputs of any length from a few frames.

The generator is exported without weight normalisation. Every exported file is read again and compared with the
generator before it gets its final name.
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
"""Numbers of clips and frames of the test inputs; the second one is also timed."""
TURNS = 3


class Report(NamedTuple):
    """Comparison of an exported program with the generator.

    Args:
        difference: Largest absolute difference of samples.
        snr: Smallest signal-to-noise ratio (dB).
        bytes: Size of the file (bytes).
        eager: Real-time factor of the generator in PyTorch (seconds per second of audio).
        exported: Real-time factor of the exported program.
    """

    difference: float
    snr: float
    bytes: int
    eager: float
    exported: float


@torch.no_grad()
def export(system: System, path: Path, format: str, facts: Mapping[str, Any]) -> Report:
    """Export a system, check the exported file and return the comparison.

    Args:
        system: A trained system, on the CPU and in `eval` mode.
        path: The path of the file.
        format: `onnx`, or `torch` for torch.export's.
        facts: Description of the system, which is stored in the file as JSON.

    Raises:
        ExportError: the system cannot be exported, or the program's output differs; no file is left.
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
    """Compare an exported program with its network.

    Raises:
        ExportError: the outputs differ.
    """
    differences, ratios = [], []
    for clips, frames in CHECKED:
        inputs = exported.example(clips, frames)
        wanted, made = exported.network(*inputs), run(inputs)
        if made.shape != wanted.shape:
            raise ExportError(f"of {frames} frames the program makes {tuple(made.shape)}, not {tuple(wanted.shape)}")
        differences.append((made - wanted).abs().max().item())
        ratios.append(signal_to_noise(wanted.double(), made.double()))
    # Python's max and min would ignore NaN.
    difference, ratio = torch.tensor(differences).max().item(), torch.tensor(ratios).min().item()
    if not ratio >= exported.faithful:
        raise ExportError(
            f"the program makes other audio than the network: {ratio:.0f} dB, differences up to "
            f"{difference:.1e}; it was removed"
        )
    inputs = exported.example(*CHECKED[1])
    # The fastest version in PyTorch alone; with a compiler, synthesis is faster.
    network: Any = exported.network.eager() if isinstance(exported.network, Vocoder) else exported.network
    seconds = network(*inputs).shape[-1] / sample_rate
    eager, program = (timed(call, inputs) / seconds for call in (lambda given: network(*given), run))
    return Report(difference, ratio, size, eager, program)


def signal_to_noise(wanted: Tensor, made: Tensor) -> float:
    """Return the signal-to-noise ratio (dB) of a signal with respect to `wanted`; infinite if they are equal."""
    error = (made - wanted).square().sum()
    return math.inf if error == 0 else (10 * torch.log10(wanted.square().sum() / error)).item()


def timed(run: Callable[[Inputs], Tensor], inputs: Inputs) -> float:
    """Return the median time (s) of a call, without the first one."""
    spans = []
    for _ in range(TURNS + 1):
        began = time.perf_counter()
        run(inputs)
        spans.append(time.perf_counter() - began)
    return statistics.median(spans[1:])
