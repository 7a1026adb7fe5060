"""Shared parts of convolutional generators: weight normalisation, its removal, and receptive fields."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations


def normed_conv(*args: Any, **kwargs: Any) -> nn.Conv1d:
    """Return a convolution with weight normalisation (Salimans and Kingma, 2016)."""
    return weight_norm(nn.Conv1d(*args, **kwargs))


def normed_upsampling(*args: Any, **kwargs: Any) -> nn.ConvTranspose1d:
    """Return a transposed convolution with weight normalisation over the input channels, as in the official code."""
    return weight_norm(nn.ConvTranspose1d(*args, **kwargs))


def remove_weight_norm(network: nn.Module) -> nn.Module:
    """Replace the normalised weights of a network by plain ones, in place; the output is the same, and faster."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d) and is_parametrized(module, "weight"):
            # `remove_parametrizations` would break deep copies, which share the class that it changes, and would leave
            # frozen weights out of the state dict.
            weight = nn.Parameter(module.weight.detach())
            del module.parametrizations
            module.__class__ = type_before_parametrizations(module)
            module.weight = weight
    return network


class Upsampling(NamedTuple):
    """An upsampling stage, for receptive fields: a transposed convolution followed by convolutions.

    Args:
        rate: Stride of the transposed convolution.
        kernel: Its kernel size (samples).
        padding: Number of samples removed at the start of its output.
        reach: Number of samples that the following convolutions see on each side, in total.
    """

    rate: int
    kernel: int
    padding: int
    reach: int


def receptive_field(before: int, stages: Sequence[Upsampling], after: int) -> int:
    """Return the largest number of input frames that one output sample depends on.

    Args:
        before: Number of frames that the convolutions before the first stage see on each side.
        stages: The upsampling stages in order.
        after: Number of samples that the convolutions after the last stage see on each side.
    """
    hop_length = 1
    for stage in stages:
        hop_length *= stage.rate
    widest = 0
    # The samples of one frame depend on different frames, according to their phase in the transposed convolution.
    for sample in range(hop_length):
        first, last = sample - after, sample + after
        for stage in reversed(stages):
            first, last = first - stage.reach + stage.padding, last + stage.reach + stage.padding
            first, last = -((stage.kernel - 1 - first) // stage.rate), last // stage.rate
        widest = max(widest, last - first + 1 + 2 * before)
    return widest
