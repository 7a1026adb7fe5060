"""Base class of discriminators, which map audio to logits and feature maps."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.nn.utils.parametrize import ParametrizationList

from framework.discriminators.spectral_norm import SpectralNorm

# The logits of each sub-discriminator, and its hidden feature maps in order.
DiscriminatorOutput: TypeAlias = tuple[list[Tensor], list[list[Tensor]]]


class Discriminator(nn.Module):
    """Classifies audio as real or generated, with several sub-discriminators that see different views of the audio.

    Weights have PyTorch's default initialisation. The papers state a normal distribution with standard deviation 0.01
    or 0.02, but their official code writes it into the tensor that weight normalisation overwrites, without effect.
    """

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return, for audio `(batch, 1, time)`, the logits and the hidden feature maps of each sub-discriminator."""
        raise NotImplementedError


def collect(outputs: Iterable[tuple[Tensor, list[Tensor]]]) -> DiscriminatorOutput:
    """Gather the `(logits, feature maps)` of the sub-discriminators."""
    logits, features = zip(*outputs, strict=True)
    return list(logits), list(features)


def normed_conv1d(*args: Any, **kwargs: Any) -> nn.Conv1d:
    """Return a one-dimensional convolution with weight normalisation (Salimans and Kingma, 2016)."""
    return weight_norm(nn.Conv1d(*args, **kwargs))


def normed_conv2d(*args: Any, **kwargs: Any) -> nn.Conv2d:
    """Return a two-dimensional convolution with weight normalisation (Salimans and Kingma, 2016)."""
    return weight_norm(nn.Conv2d(*args, **kwargs))


@contextlib.contextmanager
def normalised_once(network: nn.Module) -> Iterator[None]:
    """Compute normalised weights once for several passes; spectral norms are excluded, as each pass updates them."""
    lists = [m for m in network.modules() if isinstance(m, ParametrizationList)]
    shared = [m for m in lists if not any(isinstance(norm, SpectralNorm) for norm in m)]
    for parametrization in shared:
        weight = parametrization()
        parametrization.forward = lambda weight=weight: weight  # type: ignore[method-assign]
    try:
        yield
    finally:
        for parametrization in shared:
            del parametrization.forward
