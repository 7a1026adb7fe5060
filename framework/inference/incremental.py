"""Convolutional networks that are given their input piece by piece and give the output of the whole, each sample once.

Each layer keeps the last inputs that its next outputs depend on: nothing is computed twice, whatever the pieces'
lengths, and the memory does not grow with the signal. Outputs come as late as the network sees ahead.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, conv_transpose1d, conv_transpose2d, pad

from framework.audio.pqmf import SubBandSynthesis


class Incremental(Protocol):
    """A layer that is called with one piece `(batch, channels, time)` of its input after the other."""

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        """Return the outputs that this piece makes known, perhaps none; with the last one, all the rest."""
        ...


class Pointwise:
    """A layer that sees each sample by itself."""

    def __init__(self, layer: Callable[[Tensor], Tensor]) -> None:
        self.layer = layer

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        output: Tensor = self.layer(piece)
        return output


class Chain:
    """Layers one after the other."""

    def __init__(self, *layers: Incremental) -> None:
        self.layers = layers

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        for layer in self.layers:
            piece = layer(piece, last)
        return piece


class Sum:
    """Branches of the same input, whose outputs are added: they wait for the one that sees furthest ahead."""

    def __init__(self, *branches: Incremental, divisor: int = 1) -> None:
        self.branches, self.divisor = branches, divisor
        self.waiting: list[Tensor] = []

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        outputs = [branch(piece, last) for branch in self.branches]
        if self.waiting:
            outputs = [torch.cat(pair, dim=-1) for pair in zip(self.waiting, outputs, strict=True)]
        known = min(output.shape[-1] for output in outputs)
        self.waiting = [output[..., known:] for output in outputs]
        total = sum((output[..., :known] for output in outputs[1:]), start=outputs[0][..., :known])
        return total / self.divisor if self.divisor > 1 else total


class Convolution:
    """A convolution of stride 1, with zeros around the signal as the layer has them.

    Raises:
        ValueError: the signal has ended, and is shorter than the kernel.
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d) -> None:
        self.layer, self.kept, self.begun = layer, None, False
        self.reach = (layer.kernel_size[-1] - 1) * layer.dilation[-1]
        self.zeros = int(layer.padding[-1])

    kept: Tensor | None

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        layer = self.layer
        piece = pad(piece, (self.zeros, 0)) if self.kept is None else torch.cat([self.kept, piece], dim=-1)
        piece = pad(piece, (0, self.zeros)) if last else piece
        self.kept = piece[..., max(piece.shape[-1] - self.reach, 0) :]
        if piece.shape[-1] <= self.reach:
            if last and not self.begun:
                raise too_short(self.reach + 1 - 2 * self.zeros, piece.shape[-1] - 2 * self.zeros)
            return nothing(piece, layer.out_channels)
        self.begun = True
        convolve = conv1d if isinstance(layer, nn.Conv1d) else conv2d
        return convolve(piece, layer.weight, layer.bias, dilation=layer.dilation, groups=layer.groups)  # type: ignore[arg-type]


class Reflection:
    """The signal with its beginning and its end reflected.

    Raises:
        ValueError: the signal has ended, and has fewer samples than are reflected and one more.
    """

    def __init__(self, layer: nn.ReflectionPad1d | nn.ReflectionPad2d) -> None:
        self.length, self.kept, self.begun = layer.padding[0], None, False

    kept: Tensor | None

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        if self.kept is not None:
            piece = torch.cat([self.kept, piece], dim=-1)
        if piece.shape[-1] <= self.length:
            if last:
                raise too_short(self.length + 1, piece.shape[-1])
            self.kept = piece
            return piece[..., :0]
        fresh = piece[..., self.length + 1 :] if self.begun else reflected(piece, self.length)
        self.kept, self.begun = piece[..., -self.length - 1 :], True
        return torch.cat([fresh, piece[..., -self.length - 1 : -1].flip(-1)], dim=-1) if last else fresh


class Upsampling:
    """A transposed convolution.

    Raises:
        ValueError: the signal has ended, and all of the output is cut off.
    """

    def __init__(self, layer: nn.ConvTranspose1d | nn.ConvTranspose2d) -> None:
        self.layer, self.kept = layer, None
        self.rate, self.kernel, self.cut = layer.stride[-1], layer.kernel_size[-1], int(layer.padding[-1])
        self.first = self.inputs = self.outputs = 0

    kept: Tensor | None

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        layer, before = self.layer, self.outputs
        kept = piece if self.kept is None else torch.cat([self.kept, piece], dim=-1)
        self.inputs += piece.shape[-1]
        self.outputs = self.inputs * self.rate - self.cut
        if last:
            behind = self.kernel - self.rate - self.cut + layer.output_padding[-1]
            self.outputs += behind
            if self.outputs < 1:
                raise too_short(math.ceil((1 + self.cut - behind) / self.rate), self.inputs)
        self.outputs = max(self.outputs, before)
        if self.outputs == before or not kept.shape[-1]:
            self.kept, self.outputs = kept, before
            return nothing(piece, layer.out_channels)
        upsample = conv_transpose1d if isinstance(layer, nn.ConvTranspose1d) else conv_transpose2d
        output = upsample(kept, layer.weight, layer.bias, stride=layer.stride)  # type: ignore[arg-type]
        # Where the first output of those that are kept would lie in the whole.
        offset = self.first * self.rate - self.cut
        needed = max(math.ceil((self.outputs + self.cut - self.kernel + 1) / self.rate), self.first)
        self.kept, self.first = kept[..., needed - self.first :], needed
        return output[..., before - offset : self.outputs - offset]


def nothing(piece: Tensor, channels: int) -> Tensor:
    """Return what has no samples, of so many channels, beside a piece."""
    return piece.new_zeros(len(piece), channels, *piece.shape[2:-1], 0)


def reflected(piece: Tensor, length: int) -> Tensor:
    """Return a signal with so much of its beginning reflected in front of it."""
    return torch.cat([piece[..., 1 : length + 1].flip(-1), piece], dim=-1)


def too_short(needed: int, samples: int) -> ValueError:
    """Return what is wrong with a signal of fewer samples than a layer needs."""
    return ValueError(f"too few frames: a layer needs at least {needed} of its input, not {samples}; give it more")


def incremental(layer: nn.Module) -> Incremental:
    """Return a layer as one that takes its input piece by piece; a module of other layers says how by a method.

    A layer is over time `(batch, channels, time)`, or over images of height 1 `(batch, channels, 1, time)`.

    Raises:
        TypeError: a layer that is not known here.
    """
    if isinstance(layer, nn.Sequential) and computes_as(layer, nn.Sequential):
        return Chain(*map(incremental, layer))
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and convolves(layer):
        return Convolution(layer)
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d) and upsamples(layer):
        return Upsampling(layer)
    if isinstance(layer, nn.ReflectionPad1d | nn.ReflectionPad2d) and reflects(layer):
        return Reflection(layer)
    if computes_as(layer, nn.LeakyReLU, nn.Tanh, nn.Identity):
        return Pointwise(layer)
    if hasattr(layer, "incremental") and definer(layer, "incremental") <= definer(layer, "forward"):
        parts: Incremental = cast(Any, layer).incremental()
        return parts
    raise TypeError(f"{type(layer).__name__} cannot be given its input piece by piece")


def computes_as(layer: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a layer computes what one of these kinds does, and not something of its own."""
    return any(type(layer).forward is kind.forward for kind in kinds)


def convolves(layer: nn.Conv1d | nn.Conv2d) -> bool:
    """Whether `Convolution` computes a layer: of stride 1, with as many zeros at both ends."""
    plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return plain and layer.stride[-1] == 1 and computes_as(layer, nn.Conv1d, nn.Conv2d)


def upsamples(layer: nn.ConvTranspose1d | nn.ConvTranspose2d) -> bool:
    """Whether `Upsampling` computes a layer: of one group, whose taps leave no gaps and outlast what is cut off."""
    cut = int(layer.padding[-1]) - layer.output_padding[-1]
    plain = layer.groups == layer.dilation[-1] == 1 and 0 <= cut <= layer.kernel_size[-1] - layer.stride[-1]
    # A synthesis of sub-bands is a transposed convolution, whatever it says of precision.
    return plain and computes_as(layer, nn.ConvTranspose1d, nn.ConvTranspose2d, SubBandSynthesis)


def reflects(layer: nn.ReflectionPad1d | nn.ReflectionPad2d) -> bool:
    """Whether `Reflection` computes a layer: as much at both ends."""
    left, right, *others = layer.padding
    return left == right and not any(others) and computes_as(layer, nn.ReflectionPad1d, nn.ReflectionPad2d)


def definer(layer: nn.Module, method: str) -> int:
    """Return which of a layer's classes says what a method does, its own being 0.

    A class that computes something else than the one it extends is not what that one says of itself.
    """
    return next(place for place, kind in enumerate(type(layer).__mro__) if method in vars(kind))


@torch.no_grad()
def run(layer: Incremental, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield what a layer makes of pieces `(batch, channels, time)`, those of its outputs that have samples."""
    held: Tensor | None = None
    for piece in pieces:
        if held is not None and (output := layer(held, False)).shape[-1]:
            yield output
        held = piece
    if held is not None:
        yield layer(held, True)
