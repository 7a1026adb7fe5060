"""Compiled grouped convolutions for CPUs; unlike PyTorch's, they do not copy every window of the input."""

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.native import grouped_gradients
from framework.native.build import library
from framework.native.grouped_gradients import time_outermost
from framework.private_names.of_torch import convolve_with

PANELS = (32, 16, 8)
"""Numbers of columns that `grouped_convolution.cpp` computes together: it takes the first divisor of all columns."""


class Products(ctypes.Structure):
    """Sizes and strides (in floats) of matrix products, as in `grouped_convolution.cpp`."""

    _fields_ = [
        (name, ctypes.c_int64)
        for name in (
            *("rows", "columns", "depth", "us", "vs", "a_u", "a_v", "a_row", "a_depth"),
            *("b_u", "b_v", "b_panel", "b_depth", "c_u", "c_v", "c_row"),
        )
    ]


class GroupedConv1d(nn.Conv1d):
    """`torch.nn.Conv1d` that uses compiled code where that is available and faster, with the same results.

    The compiled code is used for float32 on a CPU with groups of multiples of 8 channels, also under autocast where
    PyTorch's bf16 would be slower and less accurate. If it is not available, PyTorch computes the output and
    `grouped_gradients.py` the gradients. In all other cases, and with torch.compile, PyTorch computes both.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Convolve `(batch, channels, time)`."""
        # Read the weight once: reading a normalised weight computes it, and updates a spectral norm.
        weight = self.weight
        if self.serves(hidden, weight):
            compiled = library("grouped_convolution") is not None
            if compiled or not torch.is_autocast_enabled("cpu"):
                assert self.bias is not None
                arguments = self.stride[0], int(self.padding[0]), self.groups
                return convolve(hidden.float(), weight, self.bias, *arguments, compiled)
        return convolve_with(self, hidden, weight)

    def serves(self, hidden: Tensor, weight: Tensor) -> bool:
        """Whether `convolve` supports this layer and is faster."""
        return (
            self.groups > 1
            and self.in_channels // self.groups % PANELS[-1] == self.out_channels // self.groups % PANELS[-1] == 0
            and self.dilation == (1,)
            and self.padding_mode == "zeros"
            and self.bias is not None
            and type(hidden) is Tensor
            # Invalid inputs are left to PyTorch, which raises the error.
            and hidden.dim() == 3
            and len(hidden) > 0
            and hidden.shape[1] == self.in_channels
            and not isinstance(self.padding, str)
            and hidden.shape[-1] + 2 * self.padding[0] >= self.kernel_size[0]
            and hidden.device.type == "cpu"
            and weight.dtype == torch.float32
            and (not multiplies_tiles() if torch.is_autocast_enabled("cpu") else hidden.dtype == torch.float32)
            and not torch.compiler.is_compiling()
        )


@functools.cache
def multiplies_tiles() -> bool:
    """Whether the processor has AMX instructions for bf16, with which PyTorch's grouped convolutions are faster."""
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("amx_bf16", False))


def convolve(
    hidden: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int, compiled: bool = True
) -> Tensor:
    """Convolve `(batch, channels, time)` with a weight `(outputs, channels / groups, taps)`, as `torch.conv1d` does."""
    convolved: Tensor = _Convolution.apply(hidden, weight, bias, stride, padding, groups, compiled)
    return convolved


class _Convolution(torch.autograd.Function):
    """A grouped convolution with gradients, computed by compiled code or by PyTorch."""

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
        tensors = gradient, *ctx.saved_tensors
        wanted = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled():
            # Second-order gradients, as gradient penalties need them, are left to PyTorch.
            found = grouped_gradients.gradients(wanted, *tensors, *ctx.arguments)
        else:
            by_input = input_gradient if ctx.compiled else grouped_gradients.input_gradient
            by_weight = weight_gradient if ctx.compiled else grouped_gradients.weight_gradient
            found = [
                by_input(*tensors, *ctx.arguments) if wanted[0] else None,
                by_weight(*tensors, *ctx.arguments) if wanted[1] else None,
                gradient.sum((0, 2)) if wanted[2] else None,
            ]
        return *found, None, None, None, None


def output(hidden: Tensor, weight: Tensor, bias: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    """Return the convolution, computed in the layout `(batch, groups, time, channels of a group)`."""
    outputs, inputs, taps = weight.shape
    windows = time_outermost(hidden, groups, padding, padding)
    count = (windows.shape[2] - taps) // stride + 1
    kernels = panels(by_group(weight, groups).permute(0, 3, 2, 1))
    convolved = hidden.new_empty(len(hidden), groups, count, outputs // groups)
    multiply(windows, (stride * inputs, 1), kernels, convolved, taps * inputs)
    shifted = hidden.new_empty(len(hidden), groups, outputs // groups, count)
    return torch.add(convolved.mT, bias.view(groups, -1, 1), out=shifted).flatten(1, 2)


def input_gradient(gradient: Tensor, hidden: Tensor, weight: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    """Return the gradient `(batch, channels, time)` of the input from that of the output.

    Samples that are a multiple of the stride apart depend on the same taps. Each such phase is a separate convolution
    of the gradient with every `stride`-th tap in reversed order.
    """
    time, (outputs, inputs, taps) = hidden.shape[-1], weight.shape
    reach, steps = -(-taps // stride), -(-(time + padding) // stride)
    windows = time_outermost(gradient, groups, reach - 1, max(steps - gradient.shape[-1], 0))
    kernels = pad(by_group(weight, groups), (0, reach * stride - taps)).unflatten(-1, (reach, stride)).flip(-2)
    found = gradient.new_empty(len(gradient), groups, steps, stride, inputs)
    for phase in range(stride):
        backwards = panels(kernels[..., phase].permute(0, 3, 1, 2))
        multiply(windows, (outputs // groups, 1), backwards, found[:, :, :, phase], reach * outputs // groups)
    return found.flatten(2, 3)[:, :, padding : padding + time].mT.flatten(1, 2)


def weight_gradient(gradient: Tensor, hidden: Tensor, weight: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    """Return the gradient `(outputs, channels / groups, taps)` of the weight from that of the output."""
    outputs, inputs, taps = weight.shape
    windows = time_outermost(hidden, groups, padding, padding)
    upper = time_outermost(gradient, groups, 0, 0)
    found = gradient.new_empty(groups, taps * inputs, outputs // groups)
    # Transposed windows: a row has one number of each window. Products are summed over time, then over the batch.
    factors = upper.unflatten(-1, (-1, panel(upper.shape[-1]))).transpose(2, 3)
    multiply(windows, (1, stride * inputs), factors, found.expand(len(hidden), -1, -1, -1), upper.shape[2])
    return found.view(groups, taps, inputs, -1).permute(0, 3, 2, 1).reshape(weight.shape)


def multiply(a: Tensor, steps: tuple[int, int], b: Tensor, c: Tensor, depth: int) -> None:
    """Fill `c` `(us, vs, rows, columns)` with matrix products, summed over `us` if `c` is expanded along it.

    Args:
        a: Sequences `(us, vs, ...)` whose rows start at the beginning.
        steps: Strides of `a`: from one row to the next, and from one number of a row to the next.
        b: Factors `(us, vs, panels, depth, columns of a panel)`; without the first dimension they are shared by all us.
        c: The result.
        depth: Number of entries in a row of `a`.
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


def by_group(weight: Tensor, groups: int) -> Tensor:
    """Return a weight as `(groups, outputs of a group, channels of a group, taps)`."""
    return weight.unflatten(0, (groups, -1))


def panel(columns: int) -> int:
    """Return the number of columns that are computed together."""
    return next(size for size in PANELS if columns % size == 0)


def panels(factors: Tensor) -> Tensor:
    """Return `(groups, taps, channels, columns)` as `(groups, panels, taps * channels, columns of a panel)`."""
    apart = factors.unflatten(-1, (-1, panel(factors.shape[-1]))).permute(0, 3, 1, 2, 4)
    return apart.contiguous().flatten(2, 3)
