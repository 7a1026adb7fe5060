"""The discriminators of WaveGAN and SpecGAN: one stack of strided convolutions (Donahue et al., 2019)."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from framework.annotations import NonNegativeInt, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput

SLOPE = 0.2


class PhaseShuffle(nn.Module):
    """Shifts feature maps in time by a random amount, which hides the phase from the discriminator (section 3.3).

    One shift is drawn for the whole batch, as in the official code. The vacated samples are filled by reflection. In
    `eval` mode nothing is shifted.

    Args:
        radius: Largest shift (samples) in either direction; 0 for none.
    """

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.radius = radius

    def forward(self, hidden: Tensor) -> Tensor:
        """Shift feature maps `(batch, channels, time)`."""
        if not self.radius or not self.training:
            return hidden
        # Drawn on the CPU: the shift determines tensor sizes, so reading it from a GPU would wait for the GPU.
        shift = int(torch.randint(-self.radius, self.radius + 1, ()))
        before, after = max(shift, 0), max(-shift, 0)
        return pad(hidden, (before, after), mode="reflect")[..., after : after + hidden.shape[-1]]


class ConvolutionalDiscriminator(Discriminator):
    """Strided convolutions with leaky ReLUs and a dense layer with one logit (tables 4 and 6).

    The input is zero-padded as TensorFlow's `same` does, with one zero more at the end than at the start. A conditional
    one adds the inner product of the last feature map, summed over its positions, with an embedding of the label
    (Miyato & Koyama, 2018).

    Args:
        shape: Shape of an example: `(time,)` or `(bins, frames)`.
        channels: Output channels of the first convolution; each following one has twice as many.
        layers: Number of convolutions.
        kernel: Kernel size of each convolution, in every dimension.
        stride: Stride of each convolution, in every dimension.
        phase_shuffle: Largest shift (samples) of the feature maps between the layers, for shape `(time,)` only.
        num_classes: Number of classes; 0 for an unconditional one.
    """

    @checked
    def __init__(
        self,
        shape: Sequence[PositiveInt],
        channels: PositiveInt,
        layers: PositiveInt,
        kernel: PositiveInt,
        stride: PositiveInt,
        phase_shuffle: NonNegativeInt = 0,
        num_classes: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        convolution = nn.Conv1d if len(shape) == 1 else nn.Conv2d
        widths = [1, *(channels * 2**layer for layer in range(layers))]
        self.convs = nn.ModuleList(convolution(i, o, kernel, stride) for i, o in itertools.pairwise(widths))
        self.shuffle = PhaseShuffle(phase_shuffle)
        places = 1
        for size in shape:
            places *= size // stride**layers
        self.output = nn.Linear(places * widths[-1], 1)
        self.label = nn.Linear(num_classes, widths[-1], bias=False) if num_classes else None
        missing = kernel - stride
        self.padding = [missing // 2, missing - missing // 2] * len(shape)
        glorot(self)

    def forward(self, example: Tensor, labels: Tensor | None = None) -> DiscriminatorOutput:
        """Map examples `(batch, 1, *shape)` and one-hot labels `(batch, num_classes)` to logits `(batch, 1)`."""
        hidden, features = example, []
        for layer, conv in enumerate(self.convs):
            hidden = leaky_relu(conv(pad(hidden, self.padding)), SLOPE)
            features.append(hidden)
            if layer < len(self.convs) - 1:
                hidden = self.shuffle(hidden)
        # TensorFlow's layout has the channels last.
        logits = self.output(hidden.movedim(1, -1).flatten(1))
        return [logits + projection(self.label, hidden, labels)], [features]

    def official_names(self, name: str) -> str:
        """Translate a variable of the official graph, `D/downconv_0/conv1d/kernel`."""
        return tensorflow_name(name, "D/", "downconv_", "convs")


class WaveGANDiscriminator(ConvolutionalDiscriminator):
    """WaveGAN's (Donahue et al., 2019, table 4): audio of 16 * 4^layers samples.

    Args:
        channels: Output channels of the first convolution.
        layers: Number of convolutions: 5 for 16,384 samples, 6 for 65,536.
        phase_shuffle: Largest shift (samples) of the feature maps between the layers.
        num_classes: Number of classes; 0 for an unconditional one.
    """

    @checked
    def __init__(
        self,
        channels: PositiveInt = 64,
        layers: PositiveInt = 5,
        phase_shuffle: NonNegativeInt = 2,
        num_classes: NonNegativeInt = 0,
    ) -> None:
        super().__init__((16 * 4**layers,), channels, layers, 25, 4, phase_shuffle, num_classes)


class SpecGANDiscriminator(ConvolutionalDiscriminator):
    """SpecGAN's (Donahue et al., 2019, table 6): images of 128 bins and 128 frames.

    Args:
        channels: Output channels of the first convolution.
        num_classes: Number of classes; 0 for an unconditional one.
    """

    @checked
    def __init__(self, channels: PositiveInt = 64, num_classes: NonNegativeInt = 0) -> None:
        super().__init__((128, 128), channels, 5, 5, 2, num_classes=num_classes)


def projection(label: nn.Linear | None, hidden: Tensor, labels: Tensor | None) -> Tensor | float:
    """Return inner products `(batch, 1)` of feature maps, summed over positions, with embeddings of one-hot labels."""
    if label is None or labels is None:
        return 0.0
    return (label(labels) * hidden.flatten(2).sum(-1)).sum(1, keepdim=True)


@torch.no_grad()
def glorot(network: nn.Module) -> None:
    """Initialise weights with Glorot's uniform distribution and biases with 0, Keras's default in the official code."""
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.xavier_uniform_(parameter)


def tensorflow_name(name: str, network: str, layer: str, layers: str) -> str:
    """Translate a variable of WaveGAN's graph to a parameter's name; empty for variables that are not weights."""
    scope, _, rest = name.removeprefix(network).partition("/")
    leaf = {"kernel": "weight", "bias": "bias"}.get(rest.rpartition("/")[2], "")
    if scope.startswith(layer):
        scope = f"{layers}.{scope.removeprefix(layer)}"
    return f"{scope}.{leaf}" if leaf and scope not in ("G", "D") else ""
