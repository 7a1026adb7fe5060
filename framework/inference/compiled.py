"""Compiled incremental convolutional networks: as in `framework/inference/incremental.py`, with fused layers."""

import ctypes
import weakref
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.inference.incremental import (
    Chain,
    Convolution,
    Incremental,
    Pointwise,
    Reflection,
    Sum,
    Upsampling,
    incremental,
    run,
    too_short,
)
from framework.native.build import library


class Layer(ctypes.Structure):
    """A convolution, or a sum of two streams, as in `streams.cpp`."""

    _fields_ = [
        *(
            (name, ctypes.c_int64)
            for name in (
                *("source", "target", "added", "inputs", "outputs", "taps", "dilation", "before", "after"),
                *("reflects", "rate", "cut", "more", "squashes"),
            )
        ),
        *((name, ctypes.c_float) for name in ("slope", "divisor")),
        *((name, ctypes.c_void_p) for name in ("weight", "bias", "analysis", "synthesis")),
    ]


STEP = 4
"""Number of outputs and of taps of a minimal filter, as in `streams.cpp`."""
TRANSFORM = 64
"""Number of multiplications that cost as much as transforming one number for minimal filters and back."""
PIECE = 64
"""Frames per piece of a whole signal, chosen so that the layers' outputs fit into a processor's caches."""


def compiled(network: nn.Module) -> "Compiled | None":
    """Return a compiled network with the current weights, or None if PyTorch has to run it.

    The result is None without a compiler, under autocast, and for networks that have unsupported layers, are not on
    the CPU or are not float32.
    """
    if torch.is_autocast_enabled("cpu") or (native := library("streams")) is None:
        return None
    try:
        return Compiled(incremental(network), native)
    except TypeError:
        return None


class Compiled:
    """A network of convolutions over time; its output is bit-identical for any division of the input into pieces.

    The output differs from PyTorch's by rounding (about -115 dB).

    Args:
        network: Convolutions, transposed convolutions and reflection padding, with leaky ReLUs before them, tanh after
            them, and sums.
        native: The compiled library of `streams.cpp`.

    Raises:
        TypeError: the network has an unsupported layer.
    """

    def __init__(self, network: Incremental, native: ctypes.CDLL) -> None:
        self.native, self.group = native, int(native.streams_group())
        # Channels of each stream; those of the input are set by the first layer that reads it.
        self.channels = [0]
        self.layers, self.kept = list[Layer](), list[Tensor]()
        if self.chain(flat(network), 0) != len(self.channels) - 1 or not self.layers:
            raise TypeError("the network's output is not the output of its last layer")

    def __call__(self, signal: Tensor) -> Tensor:
        """Return the output `(batch, channels, time)` for a signal `(batch, channels, time)`."""
        return torch.cat(list(run(self.begin(), signal.split(PIECE, dim=-1))), dim=-1)

    def begin(self) -> "Running":
        """Return the network in its initial state, for the start of a signal."""
        return Running(self)

    def check(self, length: int) -> None:
        """Check that a signal of this many samples is long enough for the kernel and the padding of each layer.

        Raises:
            ValueError: the signal is too short.
        """
        lengths = [length]
        for layer in self.layers:
            around, lost = layer.before + layer.after - (layer.taps - 1) * layer.dilation, layer.cut + layer.more
            needed = max(-(-(1 + lost) // layer.rate) - around, (layer.before + 1) * layer.reflects)
            if (samples := lengths[layer.source]) < needed:
                raise too_short(needed, samples)
            lengths.append((samples + around) * layer.rate - lost)

    def chain(self, parts: Iterable[Incremental], source: int, added: int = -1) -> int:
        """Return the output stream of consecutive layers; the last one, a convolution, may add another stream."""
        parts, slope, reflected, convolved = list(parts), 1.0, 0, False
        for part in parts:
            here = added if part is parts[-1] else -1
            if isinstance(part, Pointwise) and isinstance(part.layer, nn.LeakyReLU):
                if slope != 1:
                    raise TypeError("two consecutive leaky ReLUs are not supported by the compiled code")
                slope = float(part.layer.negative_slope)
                if slope > 1:
                    raise TypeError("a leaky ReLU with a slope above 1 is not supported by the compiled code")
            elif isinstance(part, Reflection):
                if reflected:
                    raise TypeError("two consecutive reflection paddings are not supported by the compiled code")
                reflected = part.length
            elif isinstance(part, Convolution | Upsampling):
                source = self.convolution(part.layer, source, slope, reflected, here)
                slope, reflected = 1.0, 0
            elif slope != 1 or reflected:
                break
            elif isinstance(part, Sum):
                source = self.sum(part, source)
            elif isinstance(part, Pointwise) and isinstance(part.layer, nn.Tanh) and convolved:
                # No other layer reads the convolution's output before the activation.
                self.layers[-1].squashes = 1
            elif not (isinstance(part, Pointwise) and isinstance(part.layer, nn.Identity)):
                raise TypeError(f"{type(part).__name__} is not supported by the compiled code")
            convolved = isinstance(part, Convolution | Upsampling)
        if slope != 1 or reflected:
            raise TypeError("a leaky ReLU or reflection padding without a convolution after it is not supported")
        return source

    def sum(self, part: Sum, source: int) -> int:
        """Return the stream of a sum; if possible, the last convolution of a branch adds the preceding branches."""
        total = -1
        if len(part.branches) == 1 and part.divisor > 1:
            raise TypeError("the division of a single branch is not supported by the compiled code")
        for index, branch in enumerate(part.branches):
            layers, divisor = list(flat(branch)), part.divisor if index == len(part.branches) - 1 else 1
            if total >= 0 and divisor == 1 and isinstance(layers[-1], Convolution):
                total = self.chain(layers, source, total)
                continue
            stream = self.chain(layers, source)
            total = self.addition(total, stream, divisor) if total >= 0 else stream
        return total

    def addition(self, one: int, other: int, divisor: float) -> int:
        """Return the stream of the sum of two streams, divided by `divisor`."""
        channels = self.channels[one]
        layer = Layer(source=one, added=other, inputs=channels, outputs=channels, taps=1, dilation=1, rate=1)
        layer.slope, layer.divisor = 1.0, divisor
        return self.append(layer, channels)

    def convolution(self, layer: nn.Module, source: int, slope: float, reflected: int, added: int) -> int:
        """Return the output stream of a convolution or a transposed convolution."""
        if (
            not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
            or layer.groups > 1
            or (reflected and (layer.padding[0] or isinstance(layer, nn.ConvTranspose1d)))
            # A stream stores as many samples as the kernel spans; at most half of them can be reflected.
            or 2 * reflected > (layer.kernel_size[0] - 1) * layer.dilation[0]
        ):
            raise TypeError("only ungrouped convolutions over time with one kind of padding are supported")
        weight, rate, zeros = layer.weight.detach(), 1, int(layer.padding[0])
        made = Layer(source=source, added=added, inputs=layer.in_channels, dilation=layer.dilation[0])
        if isinstance(layer, nn.ConvTranspose1d):
            # Each phase of the output is a separate convolution with every `rate`-th tap in reversed order.
            rate, kernel = layer.stride[0], layer.kernel_size[0]
            reach = -(-kernel // rate)
            weight = pad(weight, (0, reach * rate - kernel)).unflatten(-1, (reach, rate))
            weight = weight.permute(1, 3, 0, 2).flip(-1).flatten(0, 1)
            made.cut, made.more = zeros, reach * rate + zeros - kernel - layer.output_padding[0]
            made.before = made.after = reach - 1
        else:
            made.before = made.after = zeros + reflected
        if source == 0:
            self.channels[0] = layer.in_channels
        made.outputs, made.taps = len(weight), weight.shape[-1]
        made.reflects, made.rate, made.slope = bool(reflected), rate, slope
        bias = weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()
        points = (2 * STEP - 1) / STEP * -(-made.taps // STEP)
        saved = made.inputs * made.outputs * (made.taps - points)
        if rate == 1 and saved > TRANSFORM * (made.inputs + made.outputs):
            analysis, kernels, synthesis = map(weight.new_tensor, minimal_filter(STEP))
            parts = pad(weight, (0, -made.taps % STEP)).unflatten(-1, (-1, STEP))
            weight = torch.einsum("pr,oitr->oipt", kernels.double(), parts.double()).float().flatten(2)
            made.analysis, made.synthesis = self.address(analysis), self.address(synthesis)
        made.weight = self.address(self.by_group(weight).permute(0, 3, 2, 1))
        made.bias = self.address(self.by_group(bias.repeat_interleave(rate)))
        return self.append(made, layer.out_channels)

    def by_group(self, values: Tensor) -> Tensor:
        """Group values of each output channel `(outputs, ...)` by the channels that are computed together."""
        return torch.cat([values, values.new_zeros(-len(values) % self.group, *values.shape[1:])]).unflatten(
            0, (-1, self.group)
        )

    def address(self, values: Tensor) -> int:
        """Return the memory address of values, which this object keeps alive."""
        if values.device.type != "cpu" or values.dtype != torch.float32:
            raise TypeError("the compiled code supports float32 weights on a CPU only")
        self.kept.append(values.contiguous())
        return self.kept[-1].data_ptr()

    def append(self, layer: Layer, channels: int) -> int:
        """Append a layer and return its new output stream."""
        layer.target = len(self.channels)
        self.channels.append(channels)
        self.layers.append(layer)
        return layer.target


class Running:
    """State of a compiled network within the signals of a batch, called with pieces `(batch, channels, time)`."""

    def __init__(self, network: Compiled) -> None:
        self.network, self.length = network, 0
        self.states: list[ctypes.c_void_p] = []
        network.native.streams_open.restype = ctypes.c_void_p
        network.native.streams_advance.restype = ctypes.c_int64

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        """Return the outputs that can be computed after this piece.

        Raises:
            ValueError: the number of channels is not the network's, the batch size has changed, or the signal has ended
                and is too short for the network.
        """
        if piece.shape[1] != self.network.channels[0] or piece.dtype != torch.float32:
            given = f"{piece.shape[1]} channels of {str(piece.dtype).removeprefix('torch.')}"
            raise ValueError(f"wrong input: {given}; the network takes {self.network.channels[0]} channels of float32")
        self.length += piece.shape[-1]
        if last:
            self.network.check(self.length)
        self.states = self.states or [self.open() for _ in piece]
        pairs = zip(self.states, piece.contiguous(), strict=True)
        return torch.stack([self.advance(state, signal, last) for state, signal in pairs])

    def open(self) -> ctypes.c_void_p:
        """Allocate the state of one signal; it is freed with this object."""
        native, layers, channels = self.network.native, self.network.layers, self.network.channels
        state = ctypes.c_void_p(
            native.streams_open(
                (Layer * len(layers))(*layers),
                ctypes.c_int64(len(layers)),
                (ctypes.c_int64 * len(channels))(*channels),
                ctypes.c_int64(len(channels)),
            )
        )
        weakref.finalize(self, native.streams_close, state)
        return state

    def advance(self, state: ctypes.c_void_p, signal: Tensor, last: bool) -> Tensor:
        """Return the outputs `(channels, time)` that can be computed after this piece of one signal."""
        native = self.network.native
        numbers = (ctypes.c_int64(number) for number in (signal.shape[-1], last, torch.get_num_threads()))
        length = native.streams_advance(state, ctypes.c_void_p(signal.data_ptr()), *numbers)
        output = signal.new_empty(self.network.channels[-1], length)
        native.streams_take(state, ctypes.c_void_p(output.data_ptr()), ctypes.c_int64(length))
        return output


def minimal_filter(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the transforms of a minimal filtering algorithm with 2 step - 1 points (Lavin and Gray, 2016, section 4).

    `step` outputs of `step` taps are `synthesis @ ((kernels @ taps) * (analysis @ inputs))`: transposed Toom-Cook
    multiplication, which computes the product of two polynomials from their values at points. Small points of both
    signs and their inverses have the smallest rounding error (Barabasz et al., 2020).

    Returns:
        analysis `(points, points)`, kernels `(points, step)`, synthesis `(step, points)`, in float64.
    """
    points = np.array([0, 1, -1, 2, -2, 0.5, -0.5])[: 2 * step - 2]
    size = len(points) + 1
    synthesis, kernels, analysis = np.zeros((step, size)), np.zeros((size, step)), np.zeros((size, size))
    for i, point in enumerate(points):
        others = np.delete(points, i)
        synthesis[:, i] = point ** np.arange(step)
        kernels[i] = point ** np.arange(step) / np.prod(point - others)
        analysis[i, :-1] = np.poly(others)[::-1]
    # The last point is infinity.
    synthesis[-1, -1] = kernels[-1, -1] = 1
    analysis[-1] = np.poly(points)[::-1]
    return analysis, kernels, synthesis


def flat(network: Incremental) -> Iterator[Incremental]:
    """Yield the layers of a chain and, recursively, of the chains in it."""
    if isinstance(network, Chain):
        for layer in network.layers:
            yield from flat(layer)
    else:
        yield network
