"""Adversarial losses, each summed over the sub-discriminators."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import relu, softplus

from framework.annotations import NonNegativeFloat
from framework.checks import checked
from framework.discriminators.base import DiscriminatorOutput

DiscriminatorFunction = Callable[[Tensor], DiscriminatorOutput]
"""A discriminator with its condition applied: `examples (batch, ...)` -> logits and feature maps."""


class AdversarialLoss:
    """A pair of losses on logits, lists with one tensor `(batch, ...)` for each sub-discriminator."""

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return what the discriminator minimises."""
        raise NotImplementedError

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return what the generator minimises."""
        raise NotImplementedError

    def penalty(self, discriminator: DiscriminatorFunction, real: Tensor, fake: Tensor) -> Tensor | None:
        """Return what the discriminator minimises besides, weighted, on examples `(batch, ...)`, if anything."""
        return None


class LeastSquares(AdversarialLoss):
    """Real is 1, fake is 0, in squared distance (Mao et al., 2017; HiFi-GAN, equations 1 and 2, without the 1/2)."""

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[(D(x) - 1)^2] + E[D(G(z))^2]."""
        return _sum(lambda logits: (logits - 1).square(), real_logits) + _sum(torch.square, fake_logits)

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[(D(G(z)) - 1)^2]."""
        return _sum(lambda logits: (logits - 1).square(), fake_logits)


class Hinge(AdversarialLoss):
    """Logits beyond a margin of 1 count no further (Lim and Ye, 2017; MelGAN, equations 1 and 2).

    Args:
        clamp_generator: Whether the margin holds for the generator too, as in Vocos, instead of plain -D(G(z)).
    """

    def __init__(self, clamp_generator: bool = False) -> None:
        self.clamp_generator = clamp_generator

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]."""
        return _sum(lambda logits: relu(1 - logits), real_logits) + _sum(lambda logits: relu(1 + logits), fake_logits)

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[-D(G(z))], or E[max(0, 1 - D(G(z)))] where clamped."""
        if self.clamp_generator:
            return _sum(lambda logits: relu(1 - logits), fake_logits)
        return _sum(torch.neg, fake_logits)


class NonSaturating(AdversarialLoss):
    """Cross-entropy, the generator climbing log D(G(z)) (Goodfellow et al., 2014, section 3); D = sigmoid(logits)."""

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[-log D(x)] + E[-log(1 - D(G(z)))]."""
        return _sum(lambda logits: softplus(-logits), real_logits) + _sum(softplus, fake_logits)

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[-log D(G(z))]."""
        return _sum(lambda logits: softplus(-logits), fake_logits)


class Minimax(NonSaturating):
    """The game's value itself (Goodfellow et al., 2014, equation 1), of little gradient where the fake is told."""

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[log(1 - D(G(z)))]."""
        return _sum(lambda logits: -softplus(logits), fake_logits)


class WassersteinGP(AdversarialLoss):
    """Wasserstein distance under a gradient penalty (Gulrajani et al., 2017, equation 3).

    Args:
        weight: Weight of the penalty, lambda in the paper.
    """

    @checked
    def __init__(self, weight: NonNegativeFloat = 10.0) -> None:
        self.weight = weight

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[D(G(z))] - E[D(x)]."""
        return _sum(lambda logits: logits, fake_logits) - _sum(lambda logits: logits, real_logits)

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[-D(G(z))]."""
        return _sum(torch.neg, fake_logits)

    def penalty(self, discriminator: DiscriminatorFunction, real: Tensor, fake: Tensor) -> Tensor:
        """Return `weight * E[(|grad D(x)| - 1)^2]` at points between real and fake, summed over the sub-discriminators.

        A sub-discriminator with several logits a clip is penalised for their mean.
        """
        share = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device, dtype=real.dtype)
        between = (share * real + (1 - share) * fake).detach().requires_grad_()
        with torch.enable_grad():
            logits, _ = discriminator(between)
            penalties = [self._excess(values, between) for values in logits]
        return self.weight * torch.stack(penalties).sum()

    @staticmethod
    def _excess(logits: Tensor, example: Tensor) -> Tensor:
        score = logits.reshape(len(logits), -1).mean(1).sum()
        (gradient,) = torch.autograd.grad(score, example, create_graph=True)
        # The offset keeps the second derivative finite where the gradient vanishes.
        norm = (gradient.square().flatten(1).sum(1) + 1e-12).sqrt()
        return (norm - 1).square().mean()


def _sum(term: Callable[[Tensor], Tensor], logits: Sequence[Tensor]) -> Tensor:
    """Sum the mean of a term over the sub-discriminators, in float32."""
    return torch.stack([term(values.float()).mean() for values in logits]).sum()
