"""Spectral normalisation (Miyato et al., 2018) with the update order of the official GAN implementations."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import register_parametrization

Layer = TypeVar("Layer", bound=nn.Module)


class SpectralNorm(nn.Module):
    """Divides a weight by its largest singular value, estimated by one power iteration in each training forward pass.

    PyTorch has two implementations. `torch.nn.utils.spectral_norm` updates v before u, as HiFi-GAN was trained, but a
    layer cannot be deep-copied after a forward pass, and its output in `eval` mode is meaningless until some training
    forward passes have run. `torch.nn.utils.parametrizations.spectral_norm` has neither fault, but updates u before v,
    which gives other numbers in training. This class is a parametrisation that updates v before u. It iterates 15 times
    at initialisation, as PyTorch's parametrisation does.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        rows, columns = weight.flatten(1).shape
        self.register_buffer("u", normalize(torch.randn(rows), dim=0))
        self.register_buffer("v", normalize(torch.randn(columns), dim=0))
        self.iterate(weight.flatten(1), 15)

    @torch.no_grad()
    def iterate(self, matrix: Tensor, iterations: int = 1) -> None:
        """Move u and v `iterations` steps towards the first singular vectors of a matrix `(rows, columns)`."""
        for _ in range(iterations):
            # In place, because data parallelism keeps references to these tensors.
            self.v.copy_(normalize(matrix.mT @ self.u, dim=0, eps=1e-12))
            self.u.copy_(normalize(matrix @ self.v, dim=0, eps=1e-12))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight, any shape of at least two dimensions, with largest singular value 1."""
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                self.iterate(matrix)
            # Copies, because a second forward pass before `backward` changes the originals.
            divided: Tensor = _Divided.apply(weight, self.u.clone(), self.v.clone())
            return divided


class _Divided(torch.autograd.Function):
    """Divides a weight by sigma = u^T W v; the gradient (section 2.3) takes three passes over the weight, not six."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, u: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(weight, u, v)
        return weight / torch.dot(u, weight.flatten(1) @ v)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        weight, u, v = ctx.saved_tensors
        # A training step with several optimisers calls `backward` inside autocast.
        with torch.autocast(weight.device.type, enabled=False):
            # Computed again, so that it has a graph for second-order gradients.
            sigma = torch.dot(u, weight.flatten(1) @ v)
            along = torch.dot(gradient.flatten(), weight.flatten()) / sigma.square()
            found = torch.addr(gradient.flatten(1) / sigma, -along * u, v)
        return found.view_as(weight), None, None


def spectral_norm(layer: Layer) -> Layer:
    """Normalise the weight of a layer by its largest singular value."""
    register_parametrization(layer, "weight", SpectralNorm(layer.get_parameter("weight")))
    return layer
