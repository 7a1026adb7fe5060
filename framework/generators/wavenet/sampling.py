"""Sampling from a WaveNet in constant work per sample: each layer keeps the inputs that its next ones look back on."""

from collections.abc import Callable

import torch
from torch import Tensor

from framework.errors import InvalidValueError
from framework.generators.wavenet.compiled import CompiledSteps
from framework.generators.wavenet.eager import EagerSteps
from framework.generators.wavenet.network import WaveNetNetwork
from framework.generators.wavenet.weights import SamplingWeights
from framework.losses.likelihood import Distribution
from framework.native.build import library

FLOATS = 2**24
"""Most numbers that conditions of one piece take: 64 MiB."""
PIECE = 4096
"""Most samples of a piece: between two, there is progress, and an interrupt is heard."""


@torch.no_grad()
def sample(
    network: WaveNetNetwork,
    distribution: Distribution,
    uniforms: Tensor,
    mel: Tensor | None = None,
    labels: Tensor | None = None,
    temperature: float = 1.0,
    progress: Callable[[int], None] | None = None,
) -> Tensor:
    """Sample audio `(batch, 1, time)` from silence on, on the device of the network.

    The work is done on the CPU whatever the device: one step after the other is bound by how soon each is done. It is
    compiled where there is a compiler (see `framework.native.build`), else in PyTorch; the samples are the same. A
    stream's samples do not depend on what is sampled beside it.

    Args:
        network: The network; weight normalisation may be in place.
        distribution: What its outputs are parameters of.
        uniforms: Random numbers in [0, 1) `(batch, distribution.uniforms, time)`, which determine the samples.
        mel: `(batch, mels, frames + 2 * context)`, of frames that last at least as long as the audio.
        labels: int64 `(batch,)`.
        temperature: Below 1 the likelier is preferred; 0 gives the likeliest.
        progress: Is told from time to time how many samples are done.

    Raises:
        ValueError: a condition that the network needs is missing, or too short.
    """
    audio, _ = _sample(network, distribution, uniforms, mel, labels, temperature, progress)
    return audio


@torch.no_grad()
def cached_outputs(
    network: WaveNetNetwork,
    distribution: Distribution,
    signal: Tensor,
    mel: Tensor | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """Return the distribution's parameters `(batch, out, time)` at each sample of a signal `(batch, 1, time)`.

    They are those of the network on the true past, from silence on, computed by the steps that `sample` takes.
    """
    uniforms = torch.zeros(len(signal), distribution.uniforms, signal.shape[-1])
    _, outputs = _sample(network, distribution, uniforms, mel, labels, 1.0, None, signal)
    assert outputs is not None
    return outputs


def _sample(
    network: WaveNetNetwork,
    distribution: Distribution,
    uniforms: Tensor,
    mel: Tensor | None,
    labels: Tensor | None,
    temperature: float,
    progress: Callable[[int], None] | None,
    signal: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Return audio and, where a signal is given whose past is the true one, the parameters at each sample."""
    device = network.first_conv.weight.device
    batch, _, time = uniforms.shape
    _check_conditions(network, batch, time, mel, labels)
    weights = SamplingWeights.of(network)
    steps = make_steps(weights, distribution, weights.bias_of(network.embed(labels), batch))
    forced = None if signal is None else distribution.inputs(signal.cpu()).reshape(batch, time)
    uniforms = uniforms.float().cpu()

    piece = PIECE
    if weights.condition is not None:
        piece = max(min(PIECE, FLOATS // (batch * weights.condition.shape[1])), 1)
    drawn, outputs = [], []
    for begin in range(0, time, piece):
        end = min(begin + piece, time)
        condition = _condition(network, mel, begin, end)
        following = None if forced is None else forced[:, begin:end]
        values, parameters = steps.run(
            uniforms[..., begin:end], temperature, condition, following, parameters=signal is not None
        )
        drawn.append(values)
        if parameters is not None:
            outputs.append(parameters)
        if progress is not None:
            progress(end)
    audio = torch.cat(drawn, dim=-1) if drawn else torch.zeros(batch, 0)
    return audio.unsqueeze(1).to(device), torch.cat(outputs, dim=-1).to(device) if outputs else None


def make_steps(weights: SamplingWeights, distribution: Distribution, bias: Tensor) -> CompiledSteps | EagerSteps:
    """Return compiled steps where they can be had, else those in PyTorch.

    Args:
        weights: Weights of the network.
        distribution: What its outputs are parameters of.
        bias: Biases of the streams `(batch, layers, gates)`.
    """
    silence = distribution.inputs(torch.zeros(len(bias), 1, 1)).reshape(-1)
    if CompiledSteps.supports(distribution) and library("wavenet") is not None:
        return CompiledSteps(weights, distribution, bias, silence.float(), torch.get_num_threads())
    return EagerSteps(weights, distribution, bias, silence)


def _check_conditions(
    network: WaveNetNetwork, batch: int, time: int, mel: Tensor | None, labels: Tensor | None
) -> None:
    if (network.upsampling is None) != (mel is None) or (network.embedding is None) != (labels is None):
        needs = [n for n, part in (("mel", network.upsampling), ("labels", network.embedding)) if part is not None]
        given = [n for n, part in (("mel", mel), ("labels", labels)) if part is not None]
        raise InvalidValueError(f"the network takes {needs or 'no condition'}, given {given or 'none'}")
    for name, condition in (("mel", mel), ("labels", labels)):
        if condition is not None and len(condition) != batch:
            raise InvalidValueError(f"{batch} streams need as many {name}, not {len(condition)}")
    if mel is not None and network.upsampling is not None:
        length = (mel.shape[-1] - 2 * network.upsampling.context) * network.hop_length
        if length < time:
            raise InvalidValueError(f"the mel lasts {length} samples, fewer than the {time} to sample")


def _condition(network: WaveNetNetwork, mel: Tensor | None, begin: int, end: int) -> Tensor | None:
    """Return the upsampled mel `(batch, mels, end - begin)` of these samples alone, as in the whole."""
    if mel is None or network.upsampling is None:
        return None
    context, hop_length = network.upsampling.context, network.hop_length
    frames = mel.shape[-1] - 2 * context
    # Each scale's filter reaches one of its input's frames further.
    margin = len(network.upsampling.scales)
    first = max(begin // hop_length - margin, 0)
    last = min(-(-end // hop_length) + margin, frames)
    condition = network.upsample(mel[..., first : last + 2 * context].to(network.first_conv.weight.device))
    assert condition is not None
    return condition[..., begin - first * hop_length : end - first * hop_length].float().cpu()
