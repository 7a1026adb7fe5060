"""Feature matching: distance of the discriminators' feature maps of real and fake audio (Larsen et al., 2016)."""

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from framework.annotations import NonNegativeFloat
from framework.checks import checked
from framework.discriminators.base import DiscriminatorOutput


class FeatureMatching:
    """L1 distance between the feature maps of real and fake audio, summed over maps and sub-discriminators.

    HiFi-GAN's (equation 5) is `FeatureMatching()`, with weight 2. MelGAN's (equation 3) is
    `FeatureMatching(include_logits=False, scale=4 / (layers + 1) / scales)`, with weight 10.

    Args:
        include_logits: Whether the logits are compared as well, as in HiFi-GAN's official code.
        scale: Factor by which the sum is multiplied.
    """

    @checked
    def __init__(self, include_logits: bool = True, scale: NonNegativeFloat = 1.0) -> None:
        self.include_logits = include_logits
        self.scale = scale

    def __call__(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
        """Compare a discriminator's outputs for real audio, which are detached, and for fake audio."""
        pairs = zip(self._maps(real), self._maps(fake), strict=True)
        return self.scale * torch.stack([l1_loss(f.float(), r.detach().float()) for r, f in pairs]).sum()

    def _maps(self, output: DiscriminatorOutput) -> list[Tensor]:
        logits, features = output
        return [m for maps in features for m in maps] + (list(logits) if self.include_logits else [])


class RelativeFeatureMatching(FeatureMatching):
    """L1 distance divided by the mean magnitude of the real feature map, averaged over all maps (EnCodec, equation 2).

    The logits are not compared.
    """

    def __init__(self) -> None:
        super().__init__(include_logits=False)

    def __call__(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
        """Compare a discriminator's outputs for real audio, which are detached, and for fake audio."""
        pairs = [(r.detach().float(), f.float()) for r, f in zip(self._maps(real), self._maps(fake), strict=True)]
        return torch.stack([l1_loss(f, r) / r.abs().mean().clamp(min=1e-8) for r, f in pairs]).mean()
