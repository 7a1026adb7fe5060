"""DDSP's oscillators and filtered noise, forward and backward, beside writing them out and ddsp_pytorch."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from unittest.mock import patch

import torch
from torch import Tensor

from framework.audio.envelopes import Interpolation, resample
from framework.audio.filtered_noise import filter_blocks
from framework.audio.oscillators import harmonic_oscillators
from framework.bench.harness import BenchError, Benchmark, Candidate

SAMPLE_RATE, HOP_LENGTH, FRAMES, HARMONICS, BANDS = 16000, 160, 400, 100, 65

Synthesis = Callable[..., Tensor]


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield the benchmarks; `ddsp_pytorch` among the peers is a checkout of acids-ircam/ddsp_pytorch."""
    core = _peer(peers["ddsp_pytorch"]) if "ddsp_pytorch" in peers else None
    for wanted in ("amplitudes", "amplitudes and f0"):
        held: dict[str, Synthesis] = {"written out": _written_out("nearest"), "ours": _ours("nearest")}
        if core:
            held = {"ddsp_pytorch": _port(core)} | held
        yield _oscillators(f"{HARMONICS} harmonics, amplitudes held, gradients of {wanted}", held, "f0" in wanted)
    held = {"written out": _written_out("hann"), "ours": _ours("hann")}
    yield _oscillators(f"{HARMONICS} harmonics, amplitudes by Hann windows, gradients of amplitudes", held, False)
    if core:
        yield _noise(core)


def _oscillators(title: str, candidates: dict[str, Synthesis], f0_too: bool) -> Benchmark:
    torch.manual_seed(0)
    f0 = 60 + 20 * torch.rand(1, FRAMES)
    amplitudes = torch.rand(1, FRAMES, HARMONICS)
    amplitudes = amplitudes / amplitudes.sum(-1, keepdim=True)
    inputs = (f0.requires_grad_(f0_too), amplitudes.requires_grad_())
    exact = candidates["written out"]
    # A phase accumulated in float32 has an error of about 1e-2 over this length; ours has to be 100 times smaller.
    limits = {name: 1e-4 if name == "ours" else 3e-2 for name in candidates}
    return _benchmark(title, candidates, inputs, lambda: _check(candidates, exact, inputs, limits))


def _noise(core: ModuleType) -> Benchmark:
    torch.manual_seed(0)
    magnitudes = torch.rand(1, FRAMES, BANDS).requires_grad_()
    noise = torch.rand(1, 1, FRAMES * HOP_LENGTH) * 2 - 1

    def port(magnitudes: Tensor) -> Tensor:
        responses = core.amp_to_impulse_response(magnitudes, HOP_LENGTH)
        return core.fft_convolve(noise.to(magnitudes).view(1, FRAMES, HOP_LENGTH), responses).reshape(1, 1, -1)

    candidates: dict[str, Synthesis] = {
        "ddsp_pytorch": port,
        "ours": lambda magnitudes: filter_blocks(noise.to(magnitudes), magnitudes),
    }
    limits = dict.fromkeys(candidates, 1e-5)
    inputs = (magnitudes,)
    return _benchmark(
        f"Filtered noise of {BANDS} bands", candidates, inputs, lambda: _check(candidates, port, inputs, limits)
    )


def _benchmark(
    title: str, candidates: dict[str, Synthesis], inputs: tuple[Tensor, ...], check: Callable[[], str]
) -> Benchmark:
    gradient = torch.randn(1, 1, FRAMES * HOP_LENGTH)

    def runner(synthesis: Synthesis) -> Callable[[], float]:
        def run() -> float:
            for tensor in inputs:
                tensor.grad = None
            synthesis(*inputs).backward(gradient)
            return FRAMES * HOP_LENGTH / SAMPLE_RATE

        return run

    return Benchmark(
        title=title,
        unit="seconds of audio",
        baseline=next(iter(candidates)),
        candidates=tuple(Candidate(name, runner(synthesis)) for name, synthesis in candidates.items()),
        check=check,
        notes=f"A clip of {FRAMES * HOP_LENGTH:,} samples, forward and backward, {torch.get_num_threads()} threads.",
        memory=True,
    )


def _check(
    candidates: dict[str, Synthesis], exact: Synthesis, inputs: tuple[Tensor, ...], limits: dict[str, float]
) -> str:
    """Compare audio and gradients with float64; errors of gradients are relative to their largest value."""
    weight = torch.randn(1, 1, FRAMES * HOP_LENGTH, generator=torch.Generator().manual_seed(1))

    def results(synthesis: Synthesis, dtype: torch.dtype) -> list[Tensor]:
        copies = [tensor.detach().to(dtype).requires_grad_(tensor.requires_grad) for tensor in inputs]
        audio = synthesis(*copies)
        gradients = torch.autograd.grad(audio, [c for c in copies if c.requires_grad], weight.to(dtype))
        return [audio.detach(), *(gradient / gradient.abs().max() for gradient in gradients)]

    expected = results(exact, torch.float64)
    errors, kept = {}, {}
    for name, synthesis in candidates.items():
        pairs = zip(results(synthesis, torch.float32), expected, strict=True)
        errors[name] = max((found - right).abs().max().item() for found, right in pairs)
        kept[name] = _kept(synthesis, inputs)
        if not errors[name] <= limits[name]:
            raise BenchError(f"{name} differs from float64 by {errors[name]:.1e}; at most {limits[name]:g} is allowed")
    listed = (
        ", ".join(f"{name} {value}" for name, value in values.items())
        for values in ({n: f"{e:.1e}" for n, e in errors.items()}, {n: f"{b / 1e6:.3g}" for n, b in kept.items()})
    )
    return "largest error of audio and gradients against float64: {}; MB kept for the backward pass: {}".format(*listed)


def _kept(synthesis: Synthesis, inputs: tuple[Tensor, ...]) -> int:
    """Return the number of bytes that a forward pass stores for the backward pass."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        audio = synthesis(*inputs)
    assert audio.requires_grad
    return sum(kept.values())


def _ours(interpolation: Interpolation) -> Synthesis:
    return lambda f0, amplitudes: harmonic_oscillators(
        f0, amplitudes, HOP_LENGTH, SAMPLE_RATE, interpolation, "nearest", band_limited=False
    )


def _written_out(interpolation: Interpolation) -> Synthesis:
    """Return the direct implementation of the sum: one column of all samples for each harmonic."""

    def synthesis(f0: Tensor, amplitudes: Tensor) -> Tensor:
        frequency = resample(f0[..., None], FRAMES * HOP_LENGTH, "nearest")
        phase = torch.cumsum(2 * torch.pi / SAMPLE_RATE * frequency, 1)
        orders = torch.arange(1, HARMONICS + 1, dtype=f0.dtype)
        return (torch.sin(phase * orders) * resample(amplitudes, FRAMES * HOP_LENGTH, interpolation)).sum(-1)[:, None]

    return synthesis


def _port(core: ModuleType) -> Synthesis:
    def synthesis(f0: Tensor, amplitudes: Tensor) -> Tensor:
        pitch, amplitudes = core.upsample(f0[..., None], HOP_LENGTH), core.upsample(amplitudes, HOP_LENGTH)
        return core.harmonic_synth(pitch, amplitudes, SAMPLE_RATE).mT

    return synthesis


def _peer(folder: Path) -> ModuleType:
    """Load ddsp_pytorch's functions, without its imports of a pitch tracker and a file reader."""
    path = folder / "ddsp" / "core.py"
    spec = importlib.util.spec_from_file_location("ddsp_pytorch_core", path)
    if not path.exists() or spec is None or spec.loader is None:
        raise BenchError(f"{folder} is not a checkout of ddsp_pytorch: {path} is missing")
    core = importlib.util.module_from_spec(spec)
    with patch.dict(sys.modules, {name: ModuleType(name) for name in ("crepe", "librosa")}):
        spec.loader.exec_module(core)
    return core
