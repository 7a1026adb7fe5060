"""Gradients of grouped convolutions over time for CPUs, from PyTorch operations that are faster than its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from framework.private_names.of_torch import convolution_gradients

ROWS = 24
"""Smallest number of windows in a matrix for which this method is faster."""


def gradients(
    wanted: Sequence[bool], gradient: Tensor, hidden: Tensor, weight: Tensor, stride: int, padding: int, groups: int
) -> list[Any]:
    """Return the gradients of input, weight and bias; None for those that are not required."""
    return convolution_gradients(gradient, hidden, weight, stride, padding, groups, wanted)


def input_gradient(gradient: Tensor, hidden: Tensor, weight: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    """Return the gradient `(batch, channels, time)` of the input; for a stride of 2, computed group by group."""
    wanted = (True, False, False)
    if stride != 2:
        return gradients(wanted, gradient, hidden, weight, stride, padding, groups)[0]
    parts = zip(gradient.chunk(groups, 1), hidden.chunk(groups, 1), weight.chunk(groups), strict=True)
    return torch.cat([gradients(wanted, *part, stride, padding, 1)[0] for part in parts], dim=1)


def weight_gradient(gradient: Tensor, hidden: Tensor, weight: Tensor, stride: int, padding: int, groups: int) -> Tensor:
    """Return the gradient `(outputs, channels / groups, taps)` of the weight; for long inputs, by matrix products.

    With time outermost, a window is contiguous, and windows that do not overlap are the rows of a matrix without a
    copy. Several such matrices, each starting one stride after the previous one, contain all windows.
    """
    outputs, inputs, taps = weight.shape
    batch, count = len(hidden), gradient.shape[-1]
    apart = -(-taps // stride)
    rows = -(-count // apart)
    if rows < ROWS:
        return gradients((False, True, False), gradient, hidden, weight, stride, padding, groups)[1]
    read = (rows * apart - 1) * stride + taps
    windows = time_outermost(hidden, groups, padding, max(read - padding - hidden.shape[-1], padding)).flatten(0, 1)
    sizes, strides = (batch * groups, rows, taps * inputs), (windows.stride(0), apart * stride * inputs, 1)
    upper = pad(gradient, (0, rows * apart - count)).reshape(batch * groups, outputs // groups, rows, apart)
    found = gradient.new_zeros(batch * groups, outputs // groups, taps * inputs)
    for first, factors in enumerate(upper.permute(3, 0, 1, 2).contiguous()):
        found.baddbmm_(factors, windows.as_strided(sizes, strides, first * stride * inputs))
    return found.unflatten(0, (batch, groups)).sum(0).unflatten(-1, (taps, inputs)).mT.reshape(weight.shape)


def time_outermost(sequence: Tensor, groups: int, before: int, after: int) -> Tensor:
    """Return `(batch, channels, time)` as zero-padded `(batch, groups, time, channels of a group)`."""
    batch, channels, time = sequence.shape
    turned = sequence.new_empty(batch, groups, before + time + after, channels // groups)
    turned[:, :, :before] = 0
    turned[:, :, before + time :] = 0
    turned[:, :, before : before + time] = sequence.unflatten(1, (groups, -1)).mT
    return turned
