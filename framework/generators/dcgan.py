"""DCGAN: convolutions all the way from noise to an image (Radford et al., 2016), here of music."""

from typing import Any

import torch
from torch import Tensor, nn

from framework.audio.griffin_lim import GriffinLim
from framework.discriminators.base import Discriminator
from framework.discriminators.dcgan import DCGANDiscriminator, draw_weights
from framework.losses.adversarial import AdversarialLoss, NonSaturating
from framework.paradigms.noise_driven import NoiseDriven

SIZE = 64


class DCGANGenerator(nn.Module):
    """Transposed convolutions with batch normalisation and ReLUs, tanh at the end (section 3, figure 1).

    As PyTorch's examples have it: kernels of 4, no bias. The paper's are of 5, and a dense layer comes first.

    Args:
        latent: Dimensions of the noise, and of what is told beside it.
        channels: Width before the last convolution; before each earlier one there is twice as much.
        images: Channels of an image.
    """

    def __init__(self, latent: int = 100, channels: int = 64, images: int = 1) -> None:
        super().__init__()
        width = 8 * channels
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, width, 4, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        for _ in range(3):
            layers += [
                nn.ConvTranspose2d(width, width // 2, 4, 2, 1, bias=False),
                nn.BatchNorm2d(width // 2),
                nn.ReLU(),
            ]
            width //= 2
        layers += [nn.ConvTranspose2d(width, images, 4, 2, 1, bias=False), nn.Tanh()]
        # One sequence, numbered as in official checkpoints.
        self.main = nn.Sequential(*layers)
        self.apply(draw_weights)

    def forward(self, noise: Tensor) -> Tensor:
        """Generate images `(batch, images, 64, 64)` in [-1, 1] from noise `(batch, latent)`."""
        return self.main(noise[..., None, None])


class DCGAN(NoiseDriven):
    """DCGAN on images of 64 mel bands and 64 frames, with the recipe of Radford et al. (2016), section 4.

    Griffin-Lim makes an image audible.

    Args:
        channels: Width of the outermost layers of generator and discriminator; each further in has twice as much.
    """

    mel = "dcgan_16k"
    learning_rate = 2e-4
    betas = (0.5, 0.999)
    channels: int = 64

    def build(self) -> None:
        """Make the networks and Griffin-Lim.

        Raises:
            ValueError: a mel of other than 64 bands, or of values that are not in [-1, 1].
        """
        super().build()
        if self.preset.n_mels != SIZE or self.preset.limits != (-1.0, 1.0):
            raise ValueError(f"the images have {SIZE} mel bands in [-1, 1], {self.mel} has others: set --model.mel")
        self.griffin_lim = GriffinLim(self.preset)

    @property
    def length(self) -> int:
        """Samples that an image shows."""
        return SIZE * self.preset.hop_length

    def build_generator(self) -> DCGANGenerator:
        return DCGANGenerator(self.inputs, self.channels)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"image": DCGANDiscriminator(self.channels, labels=self.known_labels)}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return NonSaturating()

    def noise(self, count: int) -> Tensor:
        """Draw noise `(count, latent)` from a standard normal distribution, as PyTorch's examples."""
        return torch.randn(count, self.latent, device=self.device)

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return the image `(batch, 1, bands, frames)` of the audio's beginning."""
        return self.front_end(batch["audio"][..., : self.length]).unsqueeze(1)

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, time)` of an image."""
        return self.griffin_lim(example.squeeze(1))
