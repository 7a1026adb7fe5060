"""What convolutional generators share: weight normalisation, its removal, and how far their output sees."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations


def normed_conv(*args: Any, **kwargs: Any) -> nn.Conv1d:
    """Return a convolution with weight normalisation (Salimans and Kingma, 2016)."""
    return weight_norm(nn.Conv1d(*args, **kwargs))


def normed_upsampling(*args: Any, **kwargs: Any) -> nn.ConvTranspose1d:
    """Return a transposed convolution with weight normalisation, over the input channels as official codes have it."""
    return weight_norm(nn.ConvTranspose1d(*args, **kwargs))


def remove_weight_norm(network: nn.Module) -> nn.Module:
    """Fold the normalised weights of a network into plain ones, in place: the same output, faster."""
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.ConvTranspose1d | nn.Conv2d) and is_parametrized(module, "weight"):
            # `remove_parametrizations` would break deep copies, which share the class it changes, and leave a frozen
            # weight out of the state dict.
            weight = nn.Parameter(module.weight.detach())
            del module.parametrizations
            module.__class__ = type_before_parametrizations(module)
            module.weight = weight
    return network


class Upsampling(NamedTuple):
    """One stage as its receptive field sees it: a transposed convolution, then convolutions of some total reach.

    Args:
        rate: Stride of the transposed convolution.
        kernel: Its kernel size (samples).
        padding: Samples cut off at its output's start.
        reach: Samples that the following convolutions see on each side.
    """

    rate: int
    kernel: int
    padding: int
    reach: int


def receptive_field(before: int, stages: Sequence[Upsampling], after: int) -> int:
    """Return the most input frames that one output sample depends on.

    Args:
        before: Frames that the convolutions before the first stage see on each side.
        stages: The upsampling stages in order.
        after: Samples that the convolutions after the last stage see on each side.
    """
    hop_length = 1
    for stage in stages:
        hop_length *= stage.rate
    widest = 0
    # The samples of one frame differ in which frames their transposed convolutions touch.
    for sample in range(hop_length):
        first, last = sample - after, sample + after
        for stage in reversed(stages):
            first, last = first - stage.reach + stage.padding, last + stage.reach + stage.padding
            first, last = -((stage.kernel - 1 - first) // stage.rate), last // stage.rate
        widest = max(widest, last - first + 1 + 2 * before)
    return widest
