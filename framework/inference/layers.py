"""Shared parts of convolutional generators: weight normalisation, its removal, and receptive fields."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations

from framework.errors import InvalidValueError


def normed_conv(*args: Any, **kwargs: Any) -> nn.Conv1d:
    """Return a convolution with weight normalisation (Salimans and Kingma, 2016)."""
    return weight_norm(nn.Conv1d(*args, **kwargs))


def normed_upsampling(inputs: int, outputs: int, rate: int, kernel: int | None = None) -> nn.ConvTranspose1d:
    """Return a transposed convolution that makes a signal exactly `rate` times as long, with weight normalisation.

    The weights are normalised over the input channels, as in official codes. Where kernel and rate differ by an odd
    number, one sample more is cut off at the beginning than at the end (the form of ParallelWaveGAN and ESPnet).

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        rate: Factor of the upsampling.
        kernel: Kernel size; twice the rate if it is not given.

    Raises:
        InvalidValueError: no padding gives the output that length.
    """
    kernel = 2 * rate if kernel is None else kernel
    excess = kernel - rate
    if excess < 0 or (rate == 1 and excess % 2):
        needed = "an odd kernel" if rate == 1 else f"a kernel of at least {rate}"
        raise InvalidValueError(f"upsampling by {rate} needs {needed}, not {kernel}")
    padding = upsampling_padding(rate, kernel)
    return weight_norm(nn.ConvTranspose1d(inputs, outputs, kernel, rate, padding, output_padding=excess % 2))


def upsampling_padding(rate: int, kernel: int) -> int:
    """Return how many samples `normed_upsampling` cuts off at the beginning."""
    return (kernel - rate + 1) // 2


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
