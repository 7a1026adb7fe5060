"""Feature matching: fake audio is to look as real audio does inside the discriminators (Larsen et al., 2016)."""

import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from framework.annotations import NonNegativeFloat
from framework.checks import checked
from framework.discriminators.base import DiscriminatorOutput


class FeatureMatching:
    """L1 distance between the feature maps of real and fake, summed over maps and sub-discriminators.

    HiFi-GAN's (equation 5) is `FeatureMatching()`, with weight 2. MelGAN's (equation 3) is
    `FeatureMatching(include_logits=False, scale=4 / (layers + 1) / scales)`, with weight 10.

    Args:
        include_logits: Whether the logits are matched as well, as in HiFi-GAN's official code.
        scale: Factor on the sum.
    """

    @checked
    def __init__(self, include_logits: bool = True, scale: NonNegativeFloat = 1.0) -> None:
        self.include_logits = include_logits
        self.scale = scale

    def __call__(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
        """Compare what a discriminator returned for real audio, which gets no gradient, and for fake audio."""
        pairs = zip(self._maps(real), self._maps(fake), strict=True)
        return self.scale * torch.stack([l1_loss(f.float(), r.detach().float()) for r, f in pairs]).sum()

    def _maps(self, output: DiscriminatorOutput) -> list[Tensor]:
        logits, features = output
        return [m for maps in features for m in maps] + (list(logits) if self.include_logits else [])


class RelativeFeatureMatching(FeatureMatching):
    """L1 distance relative to the mean magnitude of the real feature map, the mean over all maps (EnCodec, equation 2).

    Without the logits.
    """

    def __init__(self) -> None:
        super().__init__(include_logits=False)

    def __call__(self, real: DiscriminatorOutput, fake: DiscriminatorOutput) -> Tensor:
        """Compare what a discriminator returned for real audio, which gets no gradient, and for fake audio."""
        pairs = [(r.detach().float(), f.float()) for r, f in zip(self._maps(real), self._maps(fake), strict=True)]
        return torch.stack([l1_loss(f, r) / r.abs().mean().clamp(min=1e-8) for r, f in pairs]).mean()
