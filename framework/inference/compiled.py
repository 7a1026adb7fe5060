"""Convolutional networks in pieces, compiled: what `framework/inference/incremental.py` describes, layers fused."""

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
"""Outputs, and taps, of a minimal filter, as in `streams.cpp`."""
TRANSFORM = 64
"""Products that cost as much as taking a number to the points of minimal filters and back."""
PIECE = 64
"""Frames at a time of a whole signal: what the layers make of them stays in a processor's caches."""


def compiled(network: nn.Module) -> "Compiled | None":
    """Return a network with the weights that it has now, compiled, or None where PyTorch is to compute it.

    That is where there is no compiler, under autocast, and for networks of other layers, of another type than float32
    or on another device than the CPU.
    """
    if torch.is_autocast_enabled("cpu") or (native := library("streams")) is None:
        return None
    try:
        return Compiled(incremental(network), native)
    except TypeError:
        return None


class Compiled:
    """A network of convolutions over time; pieces of any lengths give the samples of the whole, bit by bit.

    They differ from PyTorch's by rounding (some -115 dB).

    Args:
        network: Convolutions, transposed ones and reflections, leaky ReLUs in front of them, tanh behind, and sums.
        native: The library of `streams.cpp`.

    Raises:
        TypeError: the network has something else.
    """

    def __init__(self, network: Incremental, native: ctypes.CDLL) -> None:
        self.native, self.group = native, int(native.streams_group())
        # Of each stream; those of the input are known when its reader is.
        self.channels = [0]
        self.layers, self.kept = list[Layer](), list[Tensor]()
        if self.chain(flat(network), 0) != len(self.channels) - 1 or not self.layers:
            raise TypeError("the output is not that of the last layer")

    def __call__(self, signal: Tensor) -> Tensor:
        """Return the output `(batch, channels, time)` for a signal `(batch, channels, time)`."""
        return torch.cat(list(run(self.begin(), signal.split(PIECE, dim=-1))), dim=-1)

    def begin(self) -> "Running":
        """Return the network at the beginning of signals."""
        return Running(self)

    def check(self, length: int) -> None:
        """Look whether a signal of so many samples is long enough for what each layer sees, and reflects.

        Raises:
            ValueError: it has too few.
        """
        lengths = [length]
        for layer in self.layers:
            around, lost = layer.before + layer.after - (layer.taps - 1) * layer.dilation, layer.cut + layer.more
            needed = max(-(-(1 + lost) // layer.rate) - around, (layer.before + 1) * layer.reflects)
            if (samples := lengths[layer.source]) < needed:
                raise too_short(needed, samples)
            lengths.append((samples + around) * layer.rate - lost)

    def chain(self, parts: Iterable[Incremental], source: int, added: int = -1) -> int:
        """Return the stream of layers one after the other; the last one, a convolution, adds another stream."""
        parts, slope, reflected, convolved = list(parts), 1.0, 0, False
        for part in parts:
            here = added if part is parts[-1] else -1
            if isinstance(part, Pointwise) and isinstance(part.layer, nn.LeakyReLU):
                if slope != 1:
                    raise TypeError("one leaky ReLU behind another is not compiled")
                slope = float(part.layer.negative_slope)
                if slope > 1:
                    raise TypeError("a slope above 1 is not compiled")
            elif isinstance(part, Reflection):
                if reflected:
                    raise TypeError("one reflection behind another is not compiled")
                reflected = part.length
            elif isinstance(part, Convolution | Upsampling):
                source = self.convolution(part.layer, source, slope, reflected, here)
                slope, reflected = 1.0, 0
            elif slope != 1 or reflected:
                break
            elif isinstance(part, Sum):
                source = self.sum(part, source)
            elif isinstance(part, Pointwise) and isinstance(part.layer, nn.Tanh) and convolved:
                # Nobody else reads the convolution's output before.
                self.layers[-1].squashes = 1
            elif not (isinstance(part, Pointwise) and isinstance(part.layer, nn.Identity)):
                raise TypeError(f"{type(part).__name__} is not known to the compiled code")
            convolved = isinstance(part, Convolution | Upsampling)
        if slope != 1 or reflected:
            raise TypeError("a leaky ReLU or a reflection is not in front of a convolution")
        return source

    def sum(self, part: Sum, source: int) -> int:
        """Return the stream of a sum: a branch's last convolution adds it to those before where it can."""
        total = -1
        if len(part.branches) == 1 and part.divisor > 1:
            raise TypeError("one branch alone is not divided")
        for index, branch in enumerate(part.branches):
            layers, divisor = list(flat(branch)), part.divisor if index == len(part.branches) - 1 else 1
            if total >= 0 and divisor == 1 and isinstance(layers[-1], Convolution):
                total = self.chain(layers, source, total)
                continue
            stream = self.chain(layers, source)
            total = self.addition(total, stream, divisor) if total >= 0 else stream
        return total

    def addition(self, one: int, other: int, divisor: float) -> int:
        """Return the stream of the sum of two, divided."""
        channels = self.channels[one]
        layer = Layer(source=one, added=other, inputs=channels, outputs=channels, taps=1, dilation=1, rate=1)
        layer.slope, layer.divisor = 1.0, divisor
        return self.append(layer, channels)

    def convolution(self, layer: nn.Module, source: int, slope: float, reflected: int, added: int) -> int:
        """Return the stream of a convolution, transposed or not."""
        if (
            not isinstance(layer, nn.Conv1d | nn.ConvTranspose1d)
            or layer.groups > 1
            or (reflected and (layer.padding[0] or isinstance(layer, nn.ConvTranspose1d)))
            # Streams keep what the taps see, and of that half is reflected at most.
            or 2 * reflected > (layer.kernel_size[0] - 1) * layer.dilation[0]
        ):
            raise TypeError("only convolutions over time of one group and one kind of padding are compiled")
        weight, rate, zeros = layer.weight.detach(), 1, int(layer.padding[0])
        made = Layer(source=source, added=added, inputs=layer.in_channels, dilation=layer.dilation[0])
        if isinstance(layer, nn.ConvTranspose1d):
            # Each phase of the output is a convolution of its own, of every `rate`-th tap backwards.
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
        """Return values of each output `(outputs, ...)` by groups that are computed together."""
        return torch.cat([values, values.new_zeros(-len(values) % self.group, *values.shape[1:])]).unflatten(
            0, (-1, self.group)
        )

    def address(self, values: Tensor) -> int:
        """Return where values lie in memory, as long as this lives."""
        if values.device.type != "cpu" or values.dtype != torch.float32:
            raise TypeError("only float32 on a CPU is compiled")
        self.kept.append(values.contiguous())
        return self.kept[-1].data_ptr()

    def append(self, layer: Layer, channels: int) -> int:
        """Return the new stream that a layer writes."""
        layer.target = len(self.channels)
        self.channels.append(channels)
        self.layers.append(layer)
        return layer.target


class Running:
    """A compiled network somewhere in the signals of a batch: it takes their pieces `(batch, channels, time)`."""

    def __init__(self, network: Compiled) -> None:
        self.network, self.length = network, 0
        self.states: list[ctypes.c_void_p] = []
        network.native.streams_open.restype = ctypes.c_void_p
        network.native.streams_advance.restype = ctypes.c_int64

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        """Return the outputs that a piece makes known.

        Raises:
            ValueError: the piece has other channels than the network, or the batch another size than before; or the
                signal has ended and is too short for the network.
        """
        if piece.shape[1] != self.network.channels[0] or piece.dtype != torch.float32:
            given = f"{piece.shape[1]} of {str(piece.dtype).removeprefix('torch.')}"
            raise ValueError(f"the network takes {self.network.channels[0]} channels of float32, not {given}")
        self.length += piece.shape[-1]
        if last:
            self.network.check(self.length)
        self.states = self.states or [self.open() for _ in piece]
        pairs = zip(self.states, piece.contiguous(), strict=True)
        return torch.stack([self.advance(state, signal, last) for state, signal in pairs])

    def open(self) -> ctypes.c_void_p:
        """Return the state of one signal; its memory is freed with this object."""
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
        """Return the outputs `(channels, time)` that a piece of one signal makes known."""
        native = self.network.native
        numbers = (ctypes.c_int64(number) for number in (signal.shape[-1], last, torch.get_num_threads()))
        length = native.streams_advance(state, ctypes.c_void_p(signal.data_ptr()), *numbers)
        output = signal.new_empty(self.network.channels[-1], length)
        native.streams_take(state, ctypes.c_void_p(output.data_ptr()), ctypes.c_int64(length))
        return output


def minimal_filter(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what takes inputs and taps to 2 step - 1 points and their products back (Lavin and Gray, 2016, section 4).

    `step` outputs of as many taps are `synthesis @ ((kernels @ taps) * (analysis @ inputs))`: the product of two
    polynomials from their values at points (Toom and Cook), transposed. Small points of both signs, and their inverses,
    round least (Barabasz et al., 2020).

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
    """Yield the layers of a chain, and of the chains in it."""
    if isinstance(network, Chain):
        for layer in network.layers:
            yield from flat(layer)
    else:
        yield network
