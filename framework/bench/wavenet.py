"""Sampling from WaveNet, one sample after the other, beside recomputation, plain queues and r9y9/wavenet_vocoder."""

import ctypes
import importlib
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from framework.audio.mu_law import encode
from framework.bench.harness import BenchError, Benchmark, Candidate
from framework.generators.wavenet.eager import EagerSteps
from framework.generators.wavenet.network import WaveNetNetwork
from framework.generators.wavenet.queue import sample_by_queue
from framework.generators.wavenet.sampling import cached_outputs, sample
from framework.generators.wavenet.weights import SamplingWeights
from framework.losses.likelihood import LEVELS, MuLawSoftmax
from framework.native.build import library

Sampler = Callable[[Tensor], Tensor]
"""Maps uniform random numbers `(batch, 1, time)` to audio `(batch, 1, time)`."""

WIDTHS: dict[str, Any] = {"residual_channels": 64, "gate_channels": 128, "skip_channels": 64}
NETWORK = "30 layers, kernel 2, 64 residual, 128 gate and 64 skip channels, 256 levels"
RECOMPUTED, QUEUED, EAGER, COMPILED, PEER = (
    "recomputation",
    "plain queues",
    "queues in PyTorch",
    "compiled",
    "wavenet_vocoder",
)
TOLERANCE = 1e-5


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield the benchmarks; `wavenet_vocoder` among the peers is a checkout of r9y9/wavenet_vocoder."""
    torch.manual_seed(0)
    network = WaveNetNetwork(LEVELS, LEVELS, **WIDTHS, scaled=True).eval()
    peer = _peer(peers["wavenet_vocoder"], network) if "wavenet_vocoder" in peers else None
    for batch in (1, 8):
        yield _sampling(network, peer, batch)
    if library("wavenet") is not None:
        yield _limits(network)


def _sampling(network: WaveNetNetwork, peer: Any, batch: int) -> Benchmark:
    distribution = MuLawSoftmax()
    steps = _eager(network, batch)
    samplers: dict[str, tuple[Sampler, int]] = {
        RECOMPUTED: (lambda uniforms: _recomputed(network, uniforms), 2),
        QUEUED: (lambda uniforms: sample_by_queue(network, distribution, uniforms), 60),
        EAGER: (lambda uniforms: steps.run(uniforms, 1.0)[0].unsqueeze(1), 150),
    }
    if library("wavenet") is not None:
        samplers[COMPILED] = (lambda uniforms: sample(network, distribution, uniforms), 16000 // batch)
    candidates = [Candidate(name, _runner(sampler, batch, time)) for name, (sampler, time) in samplers.items()]
    if peer is not None:
        candidates.append(Candidate(PEER, _runner(lambda uniforms: _by_peer(peer, uniforms), batch, 60)))
    return Benchmark(
        title=f"Sampling {batch} stream{'s' if batch > 1 else ''} at once",
        unit="samples",
        baseline=QUEUED if peer is None else PEER,
        candidates=tuple(candidates),
        check=lambda: _check(network, peer, batch),
        notes=f"{NETWORK}; untrained. Samples of all streams are counted. Recomputation sees the receptive field only.",
        also={"seconds of audio at 22.05 kHz": 1 / 22050},
    )


def _limits(network: WaveNetNetwork) -> Benchmark:
    """Return a benchmark of the compiled step on one stream against the hardware limits of a core."""
    limits = library("limits")
    if limits is None:
        raise BenchError("the hardware limits could not be compiled; install a C++ compiler")
    weights = SamplingWeights.of(network)
    used = (weights.past, weights.current, weights.residual, weights.skip, *weights.last)
    count = sum(tensor.numel() for tensor in used)
    memory, time = torch.rand(count), 8000
    times, many = ctypes.c_int64(time), ctypes.c_int64(count)

    def added() -> float:
        limits.multiply_adds(ctypes.c_int64(time * count))
        return time

    def read() -> float:
        limits.read_weights(ctypes.c_void_p(memory.data_ptr()), many, times)
        return time

    return Benchmark(
        title="One stream beside what a core can do at best",
        unit="samples",
        baseline=COMPILED,
        candidates=(
            Candidate(COMPILED, _runner(lambda uniforms: sample(network, MuLawSoftmax(), uniforms), 1, time)),
            Candidate("each weight read and used once", read),
            Candidate("as many multiply-adds, in registers", added),
        ),
        check=lambda: "the limits do as many multiply-adds, and nothing else",
        notes=f"{count} weights, {4 * count / 1e6:.2f} MB, a multiply-add each for a sample; one thread.",
    )


def _runner(sampler: Sampler, batch: int, time: int) -> Callable[[], float]:
    @torch.no_grad()
    def run() -> float:
        sampler(torch.rand(batch, 1, time))
        return batch * time

    return run


def _eager(network: WaveNetNetwork, batch: int) -> EagerSteps:
    weights, silence = SamplingWeights.of(network), encode(torch.zeros(batch))
    return EagerSteps(weights, MuLawSoftmax(), weights.bias_of(None, batch), silence)


def _recomputed(network: WaveNetNetwork, uniforms: Tensor, field: int | None = None) -> Tensor:
    """Sample with the whole network, recomputed on the last `field` samples (default: the receptive field)."""
    distribution, field = MuLawSoftmax(), field or network.receptive_field
    audio = torch.zeros(len(uniforms), 1, field)
    for t in range(uniforms.shape[-1]):
        output = network(distribution.inputs(audio[..., -field:]))[..., -1:]
        audio = torch.cat([audio, distribution.sample(output, uniforms[..., t : t + 1])], dim=-1)
    return audio[..., field:]


def _by_peer(peer: Any, uniforms: Tensor) -> Tensor:
    batch, _, time = uniforms.shape
    first = one_hot(torch.full((batch, 1), LEVELS // 2), LEVELS).float()
    # Its batch size is that of the initial inputs.
    return peer.incremental_forward(test_inputs=first.transpose(1, 2), T=time)


@torch.no_grad()
def _check(network: WaveNetNetwork, peer: Any, batch: int) -> str:
    """Compare logits on given past samples with the whole network's, and samples of all candidates with each other.

    Raises:
        BenchError: logits or samples differ.
    """
    generator, distribution = torch.Generator().manual_seed(0), MuLawSoftmax()
    audio = 2 * torch.rand(batch, 1, 400, generator=generator) - 1
    levels = distribution.inputs(pad(audio, (1, 0))[..., :-1])
    whole = network(levels)
    outputs = {EAGER: _eager(network, batch).run(torch.zeros(batch, 1, 400), 1.0, None, encode(audio[:, 0]), True)[1]}
    if library("wavenet") is not None:
        outputs[COMPILED] = cached_outputs(network, distribution, audio)
    if peer is not None:
        inputs = one_hot(levels, LEVELS).float().transpose(1, 2)
        outputs[PEER] = peer.incremental_forward(test_inputs=inputs, T=400, softmax=False, quantize=False)
    for name, output in outputs.items():
        difference = (output - whole).abs().max().item() if output is not None else torch.inf
        if not difference <= TOLERANCE * max(whole.abs().max().item(), 1):
            raise BenchError(f"the logits of {name} differ from the whole network's by {difference:.1e}")

    uniforms = torch.rand(batch, 1, 200, generator=generator)
    wanted = encode(sample_by_queue(network, distribution, uniforms))
    drawn = {
        EAGER: _eager(network, batch).run(uniforms, 1.0)[0].unsqueeze(1),
        COMPILED: sample(network, distribution, uniforms),
    }
    for name, samples in drawn.items():
        if not torch.equal(encode(samples), wanted):
            raise BenchError(f"{name} does not return the same samples as plain queues")
    named = " and wavenet_vocoder's" if peer is not None else ""
    return f"400 samples' logits are the whole network's to {TOLERANCE:g} of the greatest{named}; 200 samples are equal"


def _peer(checkout: Path, network: WaveNetNetwork) -> Any:
    """Return r9y9's network with the weights of this project's network.

    Raises:
        BenchError: the folder is not a checkout of r9y9/wavenet_vocoder.
    """
    source = checkout / "wavenet_vocoder"
    if not (source / "wavenet.py").is_file():
        raise BenchError(f"{checkout} is not a checkout of r9y9/wavenet_vocoder: wavenet_vocoder/wavenet.py is missing")
    # The package's own __init__ needs a file that its installation creates.
    package = ModuleType("wavenet_vocoder")
    package.__path__ = [str(source)]
    with patch.dict(sys.modules, {"wavenet_vocoder": package}), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = importlib.import_module("wavenet_vocoder.wavenet")
        peer = module.WaveNet(
            out_channels=LEVELS,
            layers=30,
            stacks=3,
            residual_channels=WIDTHS["residual_channels"],
            gate_channels=WIDTHS["gate_channels"],
            skip_out_channels=WIDTHS["skip_channels"],
            kernel_size=2,
            dropout=0.0,
        )
    peer.make_generation_fast_()
    ours = network.state_dict()
    peer.load_state_dict({name: ours[network.official_names(name)] for name in peer.state_dict()})
    return peer.eval()
