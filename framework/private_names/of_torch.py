"""Private names of PyTorch."""

import copy
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan
from torch.optim import Optimizer

__all__ = ["scan"]
"""`scan` exports a recurrence as a loop; PyTorch has no public operator for that."""

Network = TypeVar("Network", bound=nn.Module)


def with_children(network: Network, children: dict[str, nn.Module]) -> Network:
    """Return a shallow copy of a network, some of whose children are others; `copy.copy` alone would share its dict."""
    made = copy.copy(network)
    made._modules = {**network._modules, **children}
    return made


def convolve_with(layer: nn.Conv1d, hidden: Tensor, weight: Tensor) -> Tensor:
    """Convolve as a layer does, with a weight that was read before: reading a normalised one again computes it again.

    Args:
        layer: The layer.
        hidden: `(batch, channels, time)`.
        weight: `(out_channels, in_channels / groups, kernel_size)`.
    """
    return layer._conv_forward(hidden, weight, layer.bias)


def convolution_gradients(
    gradient: Tensor, hidden: Tensor, weight: Tensor, stride: int, padding: int, groups: int, wanted: Sequence[bool]
) -> list[Any]:
    """Return the gradients of input, weight and bias as PyTorch computes them, None where they are not wanted.

    `torch.nn.grad` has the first two as functions that compute one each.
    """
    arguments = [len(weight)], [stride], [padding], [1], False, [0], groups, list(wanted)
    return list(torch.ops.aten.convolution_backward(gradient, hidden, weight, *arguments))


def skips_by_itself(optimizer: Optimizer) -> bool:
    """Return whether an optimiser reads `found_inf` on the device: PyTorch's fused ones, not subclasses of others."""
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)
    return fused and type(optimizer).__module__.startswith("torch.optim")


def mark_not_finite(optimizer: Any, not_finite: Tensor) -> None:
    """Make the next step of a fused optimiser do nothing where the flag `not_finite` is 1, without reading the flag.

    This is how PyTorch's GradScaler tells a fused optimiser to skip a step.
    """
    optimizer.found_inf = not_finite


def profiler_results(profiled: Any) -> Any:
    """Return the raw events of a finished `torch.profiler.profile`, which hold when memory was allocated."""
    return profiled.profiler.kineto_results


def processor_has_bf16() -> bool:
    """Return whether the processor has instructions for bf16; PyTorch imitates them elsewhere, slowly."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
