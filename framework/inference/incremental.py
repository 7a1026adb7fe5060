"""Incremental convolutional networks: input in pieces, with the same output as for the whole input at once.

Each layer stores the last inputs that its next outputs depend on. Nothing is computed twice, whatever the lengths of
the pieces, and memory does not grow with the signal. Outputs are delayed by the look-ahead of the network.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, conv2d, conv_transpose1d, conv_transpose2d, fold, pad

from framework.audio.pqmf import SubBandSynthesis
from framework.errors import InvalidValueError


class Incremental(Protocol):
    """A layer that is called with consecutive pieces `(batch, channels, time)` of its input."""

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        """Return the outputs that can be computed after this piece, possibly none; all the rest if it is the last."""
        ...


class Pointwise:
    """A layer whose outputs depend on one sample each, such as an activation."""

    def __init__(self, layer: Callable[[Tensor], Tensor]) -> None:
        self.layer = layer

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        output: Tensor = self.layer(piece)
        return output


class Chain:
    """A sequence of layers."""

    def __init__(self, *layers: Incremental) -> None:
        self.layers = layers

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        for layer in self.layers:
            piece = layer(piece, last)
        return piece


class Float32(Chain):
    """Layers one after the other, computed in their own precision under autocast too."""

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        rounded = torch.is_autocast_enabled(piece.device.type) and piece.dtype != torch.float64
        with float32_region(piece):
            return super().__call__(piece.float() if rounded else piece, last)


class Sum:
    """The sum of branches with the same input, delayed by the largest look-ahead of the branches."""

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
    """A convolution of stride 1, with the layer's zero padding at both ends of the signal.

    Raises:
        ValueError: the signal has ended and is shorter than the kernel.
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


class Window:
    """A layer that sees so many samples on each side, whatever it does at the signal's ends.

    It keeps the length, or multiplies it by a rate.

    It is computed anew on the samples around each piece; what depends on the ends of these is left out.

    Args:
        layer: The layer.
        reach: Samples that it sees on each side, at most.
        channels: Channels of its output.
        least: Samples that it needs.
        rate: Samples of its output for one of its input.

    Raises:
        ValueError: the signal has ended, and is shorter than that.
    """

    def __init__(
        self, layer: Callable[[Tensor], Tensor], reach: int, channels: int, least: int = 1, rate: int = 1
    ) -> None:
        self.layer, self.reach, self.channels, self.least = layer, reach, channels, least
        self.rate = rate
        self.kept, self.given = None, 0

    kept: Tensor | None

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        piece = piece if self.kept is None else torch.cat([self.kept, piece], dim=-1)
        known = piece.shape[-1] - (0 if last else self.reach)
        if last and piece.shape[-1] < self.least:
            raise too_short(self.least, piece.shape[-1])
        if known <= self.given:
            self.kept = piece
            return nothing(piece, self.channels)
        output = self.layer(piece)[..., self.given * self.rate : known * self.rate]
        unseen = max(known - self.reach, 0)
        self.kept, self.given = piece[..., unseen:], known - unseen
        return output


class OverlapAdd:
    """Frames `(batch, length, frames)` added up at their places, a hop apart: `(batch, 1, time)`.

    Args:
        length: Samples of a frame.
        hop_length: Samples between two frames.
        edge: Samples that are cut off at both ends.
    """

    def __init__(self, length: int, hop_length: int, edge: int) -> None:
        self.length, self.hop_length, self.edge = length, hop_length, edge
        self.kept, self.uncut = None, edge

    kept: Tensor | None

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        begun = piece.shape[-1] * self.hop_length
        time = begun + self.length - self.hop_length
        if piece.shape[-1]:
            added = fold(piece, (1, time), (1, self.length), stride=(1, self.hop_length)).flatten(1)
        else:
            added = piece.new_zeros(len(piece), time)
        if self.kept is not None:
            added = added + pad(self.kept, (0, begun))
        self.kept = added[:, begun:]
        output = added[:, self.uncut : max(time - self.edge, 0) if last else begun]
        self.uncut = max(self.uncut - begun, 0)
        return output.unsqueeze(1)


class Reflection:
    """Reflection padding.

    Raises:
        ValueError: the signal has ended and is not longer than the padding.
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
        ValueError: the signal has ended and the padding removes all of the output.
    """

    def __init__(self, layer: nn.ConvTranspose1d | nn.ConvTranspose2d) -> None:
        self.layer, self.kept = layer, None
        self.rate, self.kernel, self.cut = layer.stride[-1], layer.kernel_size[-1], int(layer.padding[-1])
        self.first = self.inputs = self.outputs = 0
        # Samples that the last input adds behind those of its own stride.
        self.behind = self.kernel - self.rate - self.cut + layer.output_padding[-1]

    kept: Tensor | None

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        layer, before = self.layer, self.outputs
        kept = piece if self.kept is None else torch.cat([self.kept, piece], dim=-1)
        self.inputs += piece.shape[-1]
        self.outputs = self.inputs * self.rate - self.cut
        if last:
            self.outputs += self.behind
            if self.outputs < 1:
                raise too_short(math.ceil((1 + self.cut - self.behind) / self.rate), self.inputs)
        self.outputs = max(self.outputs, before)
        if self.outputs == before or not kept.shape[-1]:
            self.kept, self.outputs = kept, before
            return nothing(piece, layer.out_channels)
        upsample = conv_transpose1d if isinstance(layer, nn.ConvTranspose1d) else conv_transpose2d
        output = upsample(kept, layer.weight, layer.bias, stride=layer.stride)  # type: ignore[arg-type]
        # Position of the first stored output in the whole output.
        offset = self.first * self.rate - self.cut
        needed = max(math.ceil((self.outputs + self.cut - self.kernel + 1) / self.rate), self.first)
        self.kept, self.first = kept[..., needed - self.first :], needed
        return output[..., before - offset : self.outputs - offset]


def float32_region(signal: Tensor, enabled: bool = True) -> AbstractContextManager[Any]:
    """Return a context in which layers ignore a surrounding autocast, as those have to whose rounding is audible."""
    device = signal.device.type
    needed = enabled and torch.is_autocast_enabled(device)
    return torch.autocast(device, enabled=False) if needed else nullcontext()


def nothing(piece: Tensor, channels: int) -> Tensor:
    """Return an empty piece `(batch, channels, 0)` with the batch size of another piece."""
    return piece.new_zeros(len(piece), channels, *piece.shape[2:-1], 0)


def reflected(piece: Tensor, length: int) -> Tensor:
    """Pad the start of a signal by reflection of `length` samples."""
    return torch.cat([piece[..., 1 : length + 1].flip(-1), piece], dim=-1)


def too_short(needed: int, samples: int) -> ValueError:
    """Return the error for a signal that is shorter than a layer needs."""
    return ValueError(f"too few frames: a layer needs at least {needed} of its input, not {samples}; give more")


def incremental(layer: nn.Module) -> Incremental:
    """Return the incremental version of a layer; a module of other layers defines it with a method `incremental`.

    A layer takes signals `(batch, channels, time)` or images of height 1 `(batch, channels, 1, time)`.

    Raises:
        TypeError: the layer has no incremental version.
    """
    if isinstance(layer, nn.Sequential) and computes_as(layer, nn.Sequential):
        return Chain(*map(incremental, layer))
    if isinstance(layer, nn.Conv1d | nn.Conv2d) and convolves(layer):
        return Convolution(layer)
    if isinstance(layer, nn.ConvTranspose1d | nn.ConvTranspose2d) and upsamples(layer):
        return Upsampling(layer)
    if isinstance(layer, nn.ReflectionPad1d | nn.ReflectionPad2d) and reflects(layer):
        return Reflection(layer)
    if computes_as(layer, nn.LeakyReLU, nn.Tanh, nn.Identity, nn.ELU):
        return Pointwise(layer)
    if hasattr(layer, "incremental") and definer(layer, "incremental") <= definer(layer, "forward"):
        parts: Incremental = cast(Any, layer).incremental()
        return parts
    raise TypeError(f"{type(layer).__name__} does not support input in pieces")


def computes_as(layer: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Whether a layer is of one of these classes and does not override `forward`."""
    return any(type(layer).forward is kind.forward for kind in kinds)


def convolves(layer: nn.Conv1d | nn.Conv2d) -> bool:
    """Whether `Convolution` supports a layer: stride 1 and equal zero padding at both ends."""
    plain = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return plain and layer.stride[-1] == 1 and computes_as(layer, nn.Conv1d, nn.Conv2d)


def upsamples(layer: nn.ConvTranspose1d | nn.ConvTranspose2d) -> bool:
    """Whether `Upsampling` supports a layer: ungrouped, with a kernel not shorter than stride plus padding."""
    cut = int(layer.padding[-1]) - layer.output_padding[-1]
    plain = layer.groups == layer.dilation[-1] == 1 and 0 <= cut <= layer.kernel_size[-1] - layer.stride[-1]
    # The PQMF synthesis is a transposed convolution; its own `forward` only changes the precision.
    return plain and computes_as(layer, nn.ConvTranspose1d, nn.ConvTranspose2d, SubBandSynthesis)


def reflects(layer: nn.ReflectionPad1d | nn.ReflectionPad2d) -> bool:
    """Whether `Reflection` supports a layer: equal padding at both ends."""
    left, right, *others = layer.padding
    return left == right and not any(others) and computes_as(layer, nn.ReflectionPad1d, nn.ReflectionPad2d)


def definer(layer: nn.Module, method: str) -> int:
    """Return the index in a layer's method resolution order of the class that defines a method.

    If a subclass overrides `forward` but inherits `incremental`, the inherited method does not describe it.
    """
    return next(place for place, kind in enumerate(type(layer).__mro__) if method in vars(kind))


@torch.no_grad()
def run(layer: Incremental, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
    """Yield the outputs of a layer for pieces `(batch, channels, time)`; empty outputs are left out.

    Raises:
        InvalidValueError: a piece has another batch size or other channels than the one before.
    """
    held: Tensor | None = None
    for piece in pieces:
        if held is not None and piece.shape[:-1] != held.shape[:-1]:
            raise InvalidValueError(
                f"a piece of shape {tuple(piece.shape)} follows one of {tuple(held.shape)}: pieces of one signal "
                "differ in their last dimension alone"
            )
        if held is not None and (output := layer(held, False)).shape[-1]:
            yield output
        held = piece
    if held is not None:
        yield layer(held, True)


class StreamedNetwork(nn.Module):
    """A network that generates audio and has a method `incremental`."""

    def stream(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the audio `(batch, 1, time)` of an input in pieces `(batch, channels, frames)`: that of the whole."""
        return run(incremental(self), pieces)
