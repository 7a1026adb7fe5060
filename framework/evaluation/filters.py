"""Finds the filters that the first layers of a network have learnt, as impulse responses on audio.

This works for any network: a system is run once on noise, and every learned convolution whose input is the waveform is
reported.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

SEEN, MEASURED = 1 << 13, 1 << 16
"""Lengths (samples) of the noise that finds layers, and that measures the response of a stack of layers."""
RESPONSE = 4096
"""Length of the Fourier transform of the responses (samples)."""

LOWEST_RATE = 1 / 16
"""Sequences with fewer values per sample than this are not the waveform."""


@dataclass(frozen=True)
class FilterBank:
    """The filters of one layer, by ascending peak frequency.

    Args:
        name: The layer's name in the system.
        kernels: Impulse responses `(filters, taps)`.
        sample_rate: Rate at which the layer sees the audio (Hz).
    """

    name: str
    kernels: Tensor
    sample_rate: float

    @classmethod
    def sorted(cls, name: str, kernels: Tensor, sample_rate: float) -> "FilterBank":
        """Return the filters `(filters, taps)` in the order of their peak frequencies."""
        bank = cls(name, kernels, sample_rate)
        return cls(name, kernels[bank.peaks.argsort(stable=True)], sample_rate)

    @property
    def frequencies(self) -> Tensor:
        """The frequencies (bins,) of the responses (Hz)."""
        return torch.linspace(0, self.sample_rate / 2, self.responses.shape[1])

    @functools.cached_property
    def responses(self) -> Tensor:
        """The magnitude responses `(filters, bins)`, from 0 Hz to half the sample rate."""
        return torch.fft.rfft(self.kernels, max(RESPONSE, self.kernels.shape[1])).abs()

    @property
    def peaks(self) -> Tensor:
        """The frequency (filters,) at which each filter responds most (Hz)."""
        return self.frequencies[self.responses.argmax(1)]


def mel_spaced(filters: int, sample_rate: float) -> Tensor:
    """Return centre frequencies (filters,) in Hz, evenly spaced on the mel scale (O'Shaughnessy, 1987)."""
    highest = 2595 * torch.log10(torch.tensor(1 + sample_rate / 2 / 700))
    mels = torch.arange(1, filters + 1) / (filters + 1) * highest
    return 700 * (10 ** (mels / 2595) - 1)


def filter_banks(system: Any, make_batch: Callable[[int | None], dict[str, Any]]) -> list[FilterBank]:
    """Return the filters of each learned layer whose input is audio, in the order of execution.

    Layers with kernels of one or two samples, such as WaveNet's first one, are no filters. For these, the response of
    the first stack of dilated convolutions after them is measured on noise.

    Args:
        system: A system on the CPU.
        make_batch: Returns a batch of one clip of noise of that many samples; None for a training segment.
    """
    was_training = system.training
    system.eval()
    calls = calls_of(system, make_batch)
    banks: dict[str, FilterBank] = {}
    for index, call in enumerate(calls):
        if call.kernels is None or not call.filters or any(call.same_as(other) for other in calls[:index]):
            continue
        # A module may have several kernels, for example for the real and the imaginary part of a transform.
        number = sum(bank.partition(" ")[0] == call.name for bank in banks) + 1
        name = call.name if number == 1 else f"{call.name} {number}"
        banks[name] = FilterBank.sorted(name, call.kernels, system.preset.sample_rate * call.rate)
    pointwise = [index for index, call in enumerate(calls) if call.rate and not call.filters]
    stack = first_stack(calls[pointwise[0] :]) if pointwise else []
    if stack:
        banks[stack[-1].name] = measured(system, stack, make_batch(MEASURED))
    system.train(was_training)
    return list(banks.values())


@dataclass(frozen=True)
class Call:
    """A learned convolution, or an embedding of quantisation levels, with its input.

    Args:
        name: The module that made it.
        samples: Length of the one sequence it is given, or of one of the rows that the audio is folded into; 0 if it is
            given more than that.
        kernels: Its filters `(filters, taps)`, where it is given one sequence.
        taps: Length of its kernel along time.
        dilation: The dilation of its kernel along time.
        full_rate: Whether it gives a sequence as long as the audio.
        rate: Samples it sees for one of the audio; 0 if it is not given the waveform.
    """

    name: str
    samples: int
    kernels: Tensor | None = None
    taps: int = 1
    dilation: int = 1
    full_rate: bool = True
    rate: float = 0.0

    @property
    def filters(self) -> bool:
        """Whether the kernel is long enough to resolve frequencies."""
        return self.rate > 0 and self.taps > 2

    def same_as(self, other: "Call") -> bool:
        """Return whether another call used the same kernel, because a network or a layer is applied twice."""
        if self.name != other.name or self.kernels is None or other.kernels is None:
            return False
        return self.kernels.shape == other.kernels.shape and torch.equal(self.kernels, other.kernels)


def calls_of(system: Any, make_batch: Callable[[int | None], dict[str, Any]]) -> list[Call]:
    """Return the calls with the sample rates of their inputs, measured with two lengths of audio.

    A single length is inexact because layers pad, but a network with a fully connected layer accepts one length only.
    """
    try:
        calls, longer = (reached(system, make_batch(time)) for time in (SEEN, 2 * SEEN))
        added = SEEN
    except (RuntimeError, ValueError):
        batch = make_batch(None)
        longer = reached(system, batch)
        calls, added = [replace(call, samples=0) for call in longer], batch["audio"].shape[-1]
    return [
        replace(call, rate=nearest_rate((other.samples - call.samples) / added))
        for call, other in zip(calls, longer, strict=True)
    ]


def nearest_rate(rate: float) -> float:
    """Round a rate to an integer multiple or fraction of the sample rate; 0 for sequences at the frame rate."""
    if rate < LOWEST_RATE:
        return 0.0
    return float(round(rate)) if rate > 0.75 else 1 / round(1 / rate)


def reached(system: Any, batch: dict[str, Any]) -> list[Call]:
    """Return the learned convolutions that are executed for a batch of one clip, in order."""
    observer = Observer(batch["audio"])
    hooks = []
    for name, module in system.named_modules():
        hooks.append(module.register_forward_pre_hook(lambda *_, name=name: observer.enter(name)))
        hooks.append(module.register_forward_hook(lambda *_: observer.leave(), always_call=True))
    try:
        with observer:
            system.training_losses(batch)
            # Discriminators may be inactive in the first steps.
            for discriminator in getattr(system, "discriminators", nn.ModuleDict()).values():
                discriminator(batch["audio"])
    finally:
        for hook in hooks:
            hook.remove()
    return observer.calls


class Observer(TorchFunctionMode):
    """Records each learned convolution that is computed, by PyTorch's modules or functions."""

    def __init__(self, audio: Tensor) -> None:
        super().__init__()
        self.audio = audio
        self.inside = [""]
        self.calls: list[Call] = []

    def enter(self, name: str) -> None:
        """Record that a module is entered."""
        self.inside.append(name)

    def leave(self) -> None:
        """Record that a module is left."""
        self.inside.pop()

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = function(*args, **(kwargs or {}))
        if function is torch.conv1d or function is torch.conv2d:
            names = ("input", "weight", "bias", "stride", "padding", "dilation")
            self.convolution(output, **(dict(zip(names, args, strict=False)) | (kwargs or {})))
        elif function is nn.functional.embedding and self.is_full_rate(args[0]):
            # Indices of levels instead of one-hot channels.
            self.calls.append(Call(self.inside[-1], self.audio.shape[-1]))
        return output

    def convolution(self, output: Tensor, input: Tensor, weight: Tensor, dilation: Any = 1, **others: Any) -> None:
        """Record a convolution if its kernel is learnt."""
        if not weight.requires_grad:
            return
        samples = self.samples(input, weight)
        # PyTorch's convolution is a correlation: the impulse response is the reversed kernel.
        kernels = weight.detach().flatten(1).flip(-1) if samples else None
        dilation = dilation if isinstance(dilation, int) else dilation[0]
        full_rate = output.dim() == 3 and self.is_full_rate(output)
        self.calls.append(Call(self.inside[-1], samples, kernels, weight.shape[-1], dilation, full_rate))

    def is_full_rate(self, sequence: Tensor) -> bool:
        """Return whether a sequence is about as long as the audio."""
        return abs(sequence.shape[-1] / self.audio.shape[-1] - 1) < 0.2

    def samples(self, inputs: Tensor, weight: Tensor) -> int:
        """Return the length of a convolution's input if it is the (possibly folded) waveform; otherwise 0."""
        if inputs.shape[1] != 1 or inputs.dim() == 3:
            return inputs.shape[-1] if inputs.shape[1] == 1 else 0
        # Audio that is folded into rows of one period is convolved along the columns.
        folded = weight.shape[2] == 1 and inputs.shape[2] > 1
        begins = inputs.mT.flatten(1)[:, : self.audio.shape[-1]]
        return inputs.shape[-1] if folded and torch.equal(begins, self.audio.flatten(1)) else 0


def first_stack(calls: list[Call]) -> list[Call]:
    """Return the first stack of convolutions with growing dilations, up to the first one with a smaller dilation."""
    stack: list[Call] = []
    for call in calls:
        if call.taps > 1 and call.full_rate and not call.rate:
            if stack and call.dilation <= stack[-1].dilation:
                break
            stack.append(call)
    return stack


@torch.no_grad()
def measured(system: Any, stack: list[Call], batch: dict[str, Any]) -> FilterBank:
    """Return the linear response of a stack to noise: the cross-spectrum divided by the spectrum of the noise.

    For Gaussian noise, the cross-correlation with the output of a static nonlinearity is proportional to the linear
    filter before it (Bussgang, 1952). Auditory filters are measured in this way (de Boer and de Jongh, 1978).
    """
    output = output_of(system, stack[-1].name, batch)
    time = min(output.shape[-1], batch["audio"].shape[-1])
    noise, *channels = (spectra(signal[-time:]) for signal in (batch["audio"][0, 0], *output))
    power = noise.abs().square().mean(-1)
    response = torch.stack([(channel * noise.conj()).mean(-1) / power for channel in channels])
    kernels = torch.fft.irfft(response, RESPONSE).roll(RESPONSE // 2, -1)
    # The response is zero outside of the receptive field; for causal stacks, also for future samples.
    reach = min(sum((call.taps - 1) * call.dilation for call in stack) + 1, RESPONSE // 2 - 1)
    before, after = kernels[:, RESPONSE // 2 - reach : RESPONSE // 2], kernels[:, RESPONSE // 2 :][:, : reach + 1]
    causal = before.square().sum() < 0.1 * after.square().sum()
    kernels = after if causal else torch.cat([before, after], -1)
    return FilterBank.sorted(stack[-1].name, kernels, system.preset.sample_rate)


class ReachedError(Exception):
    """Ends the forward pass when the output of the wanted layer is known."""


def output_of(system: Any, name: str, batch: dict[str, Any]) -> Tensor:
    """Return the output `(channels, time)` of a layer for a batch of one clip."""
    outputs: list[Tensor] = []

    def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs.append(output[0])
        raise ReachedError

    hook = system.get_submodule(name).register_forward_hook(stop)
    try:
        with contextlib.suppress(ReachedError):
            system.training_losses(batch)
    finally:
        hook.remove()
    return outputs[0]


def spectra(signal: Tensor) -> Tensor:
    """Return the spectra `(bins, frames)` of a signal `(time,)` without its mean."""
    signal = signal - signal.mean()
    return torch.stft(signal, RESPONSE, RESPONSE // 2, window=torch.hann_window(RESPONSE), return_complex=True)
