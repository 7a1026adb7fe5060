"""HiFi-GAN's synthesis as `synthesize` does it, beside the official code, alone, compiled and in ONNX Runtime."""

import importlib.util
import io
import json
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import matplotlib  # noqa: F401  (the official code imports it too, and its imports are removed after loading)
import torch
from torch import Tensor, nn

from framework.bench.harness import BenchError, Benchmark, Candidate
from framework.bench.machine import device, has_bf16, synchronise
from framework.bench.training_step import load_models
from framework.generators.hifigan import HiFiGANGenerator
from framework.inference.compiled import compiled as compiled_streams
from framework.runs.importers import load_official

RATE, FRAMES = 22050, 172
LEAST_SNR = {"float32": 100.0, "bf16": 20.0}
"""Smallest signal-to-noise ratio (dB) with respect to the official output with which the benchmark runs."""


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield the benchmarks of V1, V2 and V3; `hifi-gan` among the peers is a checkout of jik876/hifi-gan."""
    if "hifi-gan" not in peers:
        raise BenchError("--peer hifi-gan=DIR is needed: a checkout of https://github.com/jik876/hifi-gan")
    torch.backends.cudnn.allow_tf32 = False
    for version in ("v1", "v2", "v3"):
        yield benchmark(peers["hifi-gan"], version)


def benchmark(checkout: Path, version: str) -> Benchmark:
    """Return the benchmark of one version."""
    torch.manual_seed(0)
    official, ours = official_generator(checkout, version)
    mel = torch.randn(1, 80, FRAMES, device=device())
    # With random weights the output is nearly silent; this mel is loud enough for the level of speech.
    with torch.inference_mode():
        mel = mel * (0.1 / official(mel).std())
    ways: dict[str, Callable[[], Tensor]] = {"official": lambda: official(mel)}
    ways["official, torch.compile"] = compiled(official, mel)
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnxscript"):
        ways["official, ONNX Runtime"] = in_onnx_runtime(official, mel)
    prepared = ours.channels_last() if device().type == "cpu" else ours
    ways["ours"] = lambda: prepared(mel)
    if device().type == "cpu" and (by_pieces := compiled_streams(ours)) is not None:
        ways["ours, compiled"] = lambda: by_pieces(mel)
    if has_bf16():
        ways["ours, bf16"] = lambda: in_bf16(prepared, mel)

    def run(way: Callable[[], Tensor]) -> float:
        with torch.inference_mode():
            way()
        synchronise()
        return FRAMES * ours.hop_length / RATE

    def check() -> str:
        with torch.inference_mode():
            outputs = {name: way().float().cpu() for name, way in ways.items()}
        found = {n: snr(outputs["official"], o) for n, o in outputs.items() if n != "official"}
        if any(value < LEAST_SNR["bf16" if "bf16" in name else "float32"] for name, value in found.items()):
            raise BenchError(f"outputs differ from the official one: {found} dB")
        return "SNR to the official output: " + ", ".join(f"{n} {value:.0f} dB" for n, value in found.items())

    return Benchmark(
        f"HiFi-GAN {version.upper()}, {FRAMES} frames, batch 1",
        "seconds of audio",
        "official",
        tuple(Candidate(name, lambda way=way: run(way)) for name, way in ways.items()),
        check,
        notes="Weight norms folded on all sides, the same random weights.",
    )


def official_generator(checkout: Path, version: str) -> tuple[nn.Module, HiFiGANGenerator]:
    """Return the official generator of a version with random weights, and ours with the same."""
    configuration = json.loads((checkout / f"config_{version}.json").read_text())
    official = load_models(checkout).Generator(SimpleNamespace(**configuration))
    ours = HiFiGANGenerator(
        channels=configuration["upsample_initial_channel"],
        upsample_rates=configuration["upsample_rates"],
        upsample_kernels=configuration["upsample_kernel_sizes"],
        residual_block=int(configuration["resblock"]),
        kernels=configuration["resblock_kernel_sizes"],
        dilations=configuration["resblock_dilation_sizes"],
    )
    load_official(ours, {"generator": official.state_dict()})
    with patch("builtins.print"):
        official.remove_weight_norm()
    return official.eval().to(device()), ours.eval().to(device())


def compiled(network: nn.Module, mel: Tensor) -> Callable[[], Tensor]:
    """Compile a network with torch.compile, run it once and return its call."""
    call = torch.compile(network)
    with torch.inference_mode():
        call(mel)
    return lambda: call(mel)


def in_onnx_runtime(network: nn.Module, mel: Tensor) -> Callable[[], Tensor]:
    """Return a network's call in ONNX Runtime, on the CPU with PyTorch's number of threads."""
    import onnxruntime

    file = io.BytesIO()
    with warnings.catch_warnings(), patch("builtins.print"):
        warnings.simplefilter("ignore")
        program: Any = torch.onnx.export(network.cpu(), (mel.cpu(),), dynamo=True)
    program.save(file)
    network.to(device())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file.getvalue(), options, ["CPUExecutionProvider"])
    inputs = {session.get_inputs()[0].name: mel.cpu().numpy()}
    return lambda: torch.from_numpy(session.run(None, inputs)[0])


def in_bf16(network: nn.Module, mel: Tensor) -> Tensor:
    """Return a network's audio, computed as with `synthesize --precision bf16`."""
    with torch.autocast(mel.device.type, torch.bfloat16):
        audio: Tensor = network(mel)
    return audio


def snr(reference: Tensor, other: Tensor) -> float:
    """Return the signal-to-noise ratio (dB) of a signal to a reference."""
    return float(10 * (reference.square().sum() / (reference - other).square().sum()).log10())
