"""WaveGAN: a DCGAN stretched out over time, which makes audio of noise (Donahue et al., 2019)."""

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from framework.annotations import Depth, NonNegativeInt, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator
from framework.discriminators.waveform import WaveGANDiscriminator, glorot, tensorflow_name
from framework.losses.adversarial import AdversarialLoss, WassersteinGP
from framework.paradigms.noise_driven import NoiseDriven


class ConvolutionalGenerator(nn.Module):
    """A dense layer, then transposed convolutions with ReLUs, and tanh at the end (tables 3 and 5).

    What the convolutions make is cut as TensorFlow's `same` does it, which PyTorch's padding alone does not.

    Args:
        shape: Shape of the output of the dense layer: `(time,)`, or `(bins, frames)`.
        latent_dim: Dimensions of the noise, and of what is told beside it.
        channels: Width before the last convolution; before each earlier one there is twice as much.
        layers: Transposed convolutions.
        kernel: Kernel size of each, in every dimension.
        stride: Stride of each, in every dimension.
    """

    @checked
    def __init__(
        self,
        shape: Sequence[PositiveInt],
        latent_dim: PositiveInt,
        channels: PositiveInt,
        layers: PositiveInt,
        kernel: PositiveInt,
        stride: PositiveInt,
    ) -> None:
        super().__init__()
        convolution = nn.ConvTranspose1d if len(shape) == 1 else nn.ConvTranspose2d
        widths = [*(channels * 2**layer for layer in reversed(range(layers))), 1]
        self.start, self.stride = (*shape, widths[0]), stride
        self.z_project = nn.Linear(latent_dim, math.prod(self.start))
        self.convs = nn.ModuleList(
            convolution(i, o, kernel, stride, (kernel - stride) // 2) for i, o in itertools.pairwise(widths)
        )
        glorot(self)

    def forward(self, noise: Tensor) -> Tensor:
        """Generate examples `(batch, 1, *shape * stride^layers)` in [-1, 1] from noise `(batch, latent_dim)`."""
        # TensorFlow has the channels last.
        hidden = self.z_project(noise).unflatten(1, self.start).movedim(-1, 1)
        for conv in self.convs:
            hidden = conv(hidden.relu())[(..., *(slice(self.stride * size) for size in hidden.shape[2:]))]
        return hidden.tanh()

    def official_names(self, name: str) -> str:
        """Translate a variable of the official graph, `G/upconv_0/conv2d_transpose/kernel`."""
        return tensorflow_name(name, "G/", "upconv_", "convs")


class WaveGANGenerator(ConvolutionalGenerator):
    """WaveGAN's generator (table 3): noise `(batch, latent_dim)` -> audio `(batch, 1, 16 * 4^layers)`.

    Args:
        latent_dim: Dimensions of the noise, and of what is told beside it.
        channels: Width before the last convolution; before each earlier one there is twice as much.
        layers: Transposed convolutions, each of which makes four samples of one.
    """

    @checked
    def __init__(self, latent_dim: PositiveInt = 100, channels: PositiveInt = 64, layers: PositiveInt = 5) -> None:
        super().__init__((16,), latent_dim, channels, layers, 25, 4)


class WaveGAN(NoiseDriven):
    """WaveGAN with its official recipe (Donahue et al., 2019, appendix C).

    The official code draws noise anew for the generator's update; here it uses the noise of the critic's last update.

    Args:
        channels: Width of the outermost layers of generator and discriminator; each further in has twice as much.
        layers: Layers of each: 5 for 16,384 samples, 6 for 65,536.
        phase_shuffle: Largest shift in samples of the discriminator's maps; 0 for none (section 3.3).
    """

    mel = "ddsp_16k"
    learning_rate = 1e-4
    betas = (0.5, 0.9)
    critic_steps = 5
    channels: PositiveInt = 64
    layers: Depth = 5
    phase_shuffle: NonNegativeInt = 2

    @property
    def length(self) -> int:
        """Samples that are generated."""
        return 16 * 4**self.layers

    def build_generator(self) -> WaveGANGenerator:
        return WaveGANGenerator(self.inputs, self.channels, self.layers)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"waveform": WaveGANDiscriminator(self.channels, self.layers, self.phase_shuffle, self.known_labels)}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return WassersteinGP()
