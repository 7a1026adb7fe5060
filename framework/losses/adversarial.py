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
    """Losses of the discriminator and the generator, on lists of logits `(batch, ...)`, one per sub-discriminator."""

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return the discriminator's loss."""
        raise NotImplementedError

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return the generator's loss."""
        raise NotImplementedError

    def penalty(self, discriminator: DiscriminatorFunction, real: Tensor, fake: Tensor) -> Tensor | None:
        """Return the weighted penalty that is added to the discriminator's loss on examples `(batch, ...)`, or None."""
        return None


class LeastSquares(AdversarialLoss):
    """Squared distance to 1 for real and 0 for fake audio (Mao et al., 2017; HiFi-GAN, equations 1 and 2)."""

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[(D(x) - 1)^2] + E[D(G(z))^2]."""
        return _sum(lambda logits: (logits - 1).square(), real_logits) + _sum(torch.square, fake_logits)

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[(D(G(z)) - 1)^2]."""
        return _sum(lambda logits: (logits - 1).square(), fake_logits)


class Hinge(AdversarialLoss):
    """Hinge loss: no gradient for logits beyond a margin of 1 (Lim and Ye, 2017; MelGAN, equations 1 and 2).

    Args:
        clamp_generator: Whether the margin applies to the generator too, as in Vocos; otherwise its loss is -D(G(z)).
    """

    def __init__(self, clamp_generator: bool = False) -> None:
        self.clamp_generator = clamp_generator

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]."""
        return _sum(lambda logits: relu(1 - logits), real_logits) + _sum(lambda logits: relu(1 + logits), fake_logits)

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[-D(G(z))], or sum E[max(0, 1 - D(G(z)))] with `clamp_generator`."""
        if self.clamp_generator:
            return _sum(lambda logits: relu(1 - logits), fake_logits)
        return _sum(torch.neg, fake_logits)


class NonSaturating(AdversarialLoss):
    """Cross-entropy; the generator maximises log D(G(z)) (Goodfellow et al., 2014, section 3), D = sigmoid(logits)."""

    def discriminator(self, real_logits: Sequence[Tensor], fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[-log D(x)] + E[-log(1 - D(G(z)))]."""
        return _sum(lambda logits: softplus(-logits), real_logits) + _sum(softplus, fake_logits)

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[-log D(G(z))]."""
        return _sum(lambda logits: softplus(-logits), fake_logits)


class Minimax(NonSaturating):
    """The minimax loss (Goodfellow et al., 2014, equation 1); the gradient vanishes if the discriminator is certain."""

    def generator(self, fake_logits: Sequence[Tensor]) -> Tensor:
        """Return sum E[log(1 - D(G(z)))]."""
        return _sum(lambda logits: -softplus(logits), fake_logits)


class WassersteinGP(AdversarialLoss):
    """Wasserstein distance with a gradient penalty (Gulrajani et al., 2017, equation 3).

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

        For a sub-discriminator with several logits per clip, D is their mean.
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
        # The offset keeps the second derivative finite if the gradient is zero.
        norm = (gradient.square().flatten(1).sum(1) + 1e-12).sqrt()
        return (norm - 1).square().mean()


def _sum(term: Callable[[Tensor], Tensor], logits: Sequence[Tensor]) -> Tensor:
    """Sum the mean of a term over the sub-discriminators, in float32."""
    return torch.stack([term(values.float()).mean() for values in logits]).sum()
