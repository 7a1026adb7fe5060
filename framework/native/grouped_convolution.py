"""Grouped convolutions on a CPU, compiled: PyTorch's copy every window of the input before they multiply."""

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.native.build import library

PANELS = (32, 16, 8)
"""Columns that `grouped_convolution.cpp` computes together: the first of these that divides their number."""


class Products(ctypes.Structure):
    """Sizes and strides of products of matrices, in floats, as in `grouped_convolution.cpp`."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("rows", "columns", "depth", "us", "vs", "a_u", "a_v", "a_row", "a_depth"),
            *("b_u", "b_v", "b_panel", "b_depth", "c_u", "c_v", "c_row"),
        )
    ]


class GroupedConv1d(nn.Conv1d):
    """`torch.nn.Conv1d` that is computed by compiled code where that can be had and serves: the numbers are the same.

    That is float32 on a CPU in groups of multiples of 8 channels, under autocast too where its bf16 would be slower and
    less exact. Where it cannot be had PyTorch computes it, at a stride of 2 with the input's gradient group by group,
    which takes half the time there. Elsewhere, and in compiled networks, it is PyTorch's own.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Convolve `(batch, channels, time)`."""
        # A normalised weight is computed each time it is looked at, and a spectral norm moves on.
        weight, stride = self.weight, self.stride[0]
        compiled = self.serves(hidden, weight) and library("grouped_convolution") is not None
        if not compiled and not (stride == 2 and self.serves(hidden, weight)):
            return self._conv_forward(hidden, weight, self.bias)
        assert self.bias is not None
        return convolve(hidden.float(), weight, self.bias, stride, int(self.padding[0]), self.groups, compiled)

    def serves(self, hidden: Tensor, weight: Tensor) -> bool:
        """Whether `convolve` does what this layer is, and does it faster."""
        return (
            self.groups > 1
            and self.in_channels // self.groups % PANELS[-1] == self.out_channels // self.groups % PANELS[-1] == 0
            and self.dilation == (1,)
            and self.padding_mode == "zeros"
            and self.bias is not None
            and type(hidden) is Tensor
            and hidden.dim() == 3
            and hidden.device.type == "cpu"
            and weight.dtype == torch.float32
            and (not multiplies_tiles() if torch.is_autocast_enabled("cpu") else hidden.dtype == torch.float32)
            and not torch.compiler.is_compiling()
        )


@functools.cache
def multiplies_tiles() -> bool:
    """Whether the processor multiplies tiles of bf16 (AMX): PyTorch's grouped convolutions are faster then."""
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16", False))


def convolve(
    hidden: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int, compiled: bool = True
) -> Tensor:
    """Convolve `(batch, channels, time)` with `(outputs, channels / groups, taps)`, as `torch.conv1d`."""
    convolved: Tensor = _Convolution.apply(hidden, weight, bias, stride, padding, groups, compiled)
    return convolved


class _Convolution(torch.autograd.Function):
    """A grouped convolution, compiled or by PyTorch."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, *arguments: Any) -> Tensor:
        ctx.save_for_backward(hidden, weight)
        *ctx.arguments, ctx.compiled = arguments
        stride, padding, groups = ctx.arguments
        if ctx.compiled:
            return output(hidden, weight, bias, stride, padding, groups)
        return torch.conv1d(hidden, weight, bias, stride, padding, groups=groups)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight = ctx.saved_tensors
        stride, padding, groups = ctx.arguments
        by_input, by_weight, by_bias = ctx.needs_input_grad[:3]
        found: list[Tensor | None] = [None, None, gradient.sum((0, 2)) if by_bias else None]
        if torch.is_grad_enabled():
            # Gradients of gradients, as penalties need them, are left to PyTorch.
            found = gradients((by_input, by_weight, by_bias), gradient, hidden, weight, *ctx.arguments)
        elif ctx.compiled:
            found[0] = input_gradient(gradient, weight, hidden.shape[-1], *ctx.arguments) if by_input else None
            found[1] = weight_gradient(gradient, hidden, weight.shape, *ctx.arguments) if by_weight else None
        else:
            parts = zip(gradient.chunk(groups, 1), hidden.chunk(groups, 1), weight.chunk(groups), strict=True)
            if by_input:
                pieces = (gradients((True, False, False), *part, stride, padding, 1)[0] for part in parts)
                found[0] = torch.cat(list(pieces), dim=1)
            if by_weight:
                found[1] = gradients((False, True, False), gradient, hidden, weight, *ctx.arguments)[1]
        return *found, None, None, None, None


def gradients(
    wanted: Sequence[bool], gradient: Tensor, hidden: Tensor, weight: Tensor, stride: int, padding: int, groups: int
) -> list[Any]:
    """Return the gradients of input, weight and bias as PyTorch has them, None where they are not wanted."""
    arguments = [len(weight)], [stride], [padding], [1], False, [0], groups, list(wanted)
    return list(torch.ops.aten.convolution_backward(gradient, hidden, weight, *arguments))


def output(hidden: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    """Return the convolution, with time outermost inside: `(batch, groups, time, channels of a group)`."""
    outputs, inputs, taps = weight.shape
    windows = time_outermost(hidden, groups, padding, padding)
    count = (windows.shape[2] - taps) // stride + 1
    kernels = panels(by_group(weight, groups).permute(0, 3, 2, 1))
    convolved = hidden.new_empty(len(hidden), groups, count, outputs // groups)
    multiply(windows, (stride * inputs, 1), kernels, convolved, taps * inputs)
    shifted = hidden.new_empty(len(hidden), groups, outputs // groups, count)
    return torch.add(convolved.mT, bias.view(groups, -1, 1), out=shifted).flatten(1, 2)


def input_gradient(gradient: Tensor, weight: Tensor, time: int, stride: int, padding: int, groups: int) -> Tensor:
    """Return the gradient `(batch, channels, time)` of the input from that of the output.

    Samples that are a multiple of the stride apart see the same taps: each such phase is a convolution of its own, of
    the gradient with every `stride`-th tap backwards.
    """
    outputs, inputs, taps = weight.shape
    reach, steps = -(-taps // stride), -(-(time + padding) // stride)
    windows = time_outermost(gradient, groups, reach - 1, max(steps - gradient.shape[-1], 0))
    kernels = pad(by_group(weight, groups), (0, reach * stride - taps)).unflatten(-1, (reach, stride)).flip(-2)
    found = gradient.new_empty(len(gradient), groups, steps, stride, inputs)
    for phase in range(stride):
        backwards = panels(kernels[..., phase].permute(0, 3, 1, 2))
        multiply(windows, (outputs // groups, 1), backwards, found[:, :, :, phase], reach * outputs // groups)
    return found.flatten(2, 3)[:, :, padding : padding + time].mT.flatten(1, 2)


def weight_gradient(
    gradient: Tensor, hidden: Tensor, shape: torch.Size, stride: int, padding: int, groups: int
) -> Tensor:
    """Return the gradient `(outputs, channels / groups, taps)` of the weight from that of the output."""
    outputs, inputs, taps = shape
    windows = time_outermost(hidden, groups, padding, padding)
    upper = time_outermost(gradient, groups, 0, 0)
    found = gradient.new_empty(groups, taps * inputs, outputs // groups)
    # The windows turned over: a row is one number of each of them, and what is summed over is time, then the batch.
    factors = upper.unflatten(-1, (-1, panel(upper.shape[-1]))).transpose(2, 3)
    multiply(windows, (1, stride * inputs), factors, found.expand(len(hidden), -1, -1, -1), upper.shape[2])
    return found.view(groups, taps, inputs, -1).permute(0, 3, 2, 1).reshape(shape)


def multiply(a: Tensor, steps: tuple[int, int], b: Tensor, c: Tensor, depth: int) -> None:
    """Fill `c` `(us, vs, rows, columns)` with products, or with their sums over `us` where it is expanded along it.

    Args:
        a: Sequences `(us, vs, ...)`, from the start of which rows are read.
        steps: From one row of `a` to the next, and from one number of a row to the next.
        b: Factors `(us, vs, panels, depth, columns of a panel)`; without the first dimension they are all `us`'.
        c: The result.
        depth: Numbers in a row of `a`.
    """
    native = library("grouped_convolution")
    assert native is not None
    us, vs, rows, columns = c.shape
    b_u = b.stride(0) if b.dim() == 5 else 0
    products = Products(
        *(rows, columns, depth, us, vs, a.stride(0), a.stride(1), *steps),
        *(b_u, *b.stride()[-4:-1], c.stride(0), c.stride(1), c.stride(2)),
    )
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (a, b, c))
    native.grouped_products(ctypes.byref(products), *pointers, ctypes.c_int64(torch.get_num_threads()))


def time_outermost(sequence: Tensor, groups: int, before: int, after: int) -> Tensor:
    """Return `(batch, channels, time)` as `(batch, groups, time, channels of a group)` between zeros."""
    batch, channels, time = sequence.shape
    turned = sequence.new_empty(batch, groups, before + time + after, channels // groups)
    turned[:, :, :before] = 0
    turned[:, :, before + time :] = 0
    turned[:, :, before : before + time] = sequence.unflatten(1, (groups, -1)).mT
    return turned


def by_group(weight: Tensor, groups: int) -> Tensor:
    """Return a weight as `(groups, outputs of a group, channels of a group, taps)`."""
    return weight.unflatten(0, (groups, -1))


def panel(columns: int) -> int:
    """Return how many of these columns are computed together."""
    return next(size for size in PANELS if columns % size == 0)


def panels(factors: Tensor) -> Tensor:
    """Return `(groups, taps, channels, columns)` as `(groups, panels, taps * channels, columns of a panel)`."""
    apart = factors.unflatten(-1, (-1, panel(factors.shape[-1]))).permute(0, 3, 1, 2, 4)
    return apart.contiguous().flatten(2, 3)
