"""Multi-period discriminator (HiFi-GAN: Kong et al., 2020, section 2.3)."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import conv2d, leaky_relu, pad
from torch.nn.utils.parametrizations import weight_norm

from framework.annotations import NonNegativeFloat, NonNegativeInt, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator, DiscriminatorOutput, collect


class PeriodConv(nn.Conv2d):
    """A convolution along time of `(batch, channels, period, time)`, with weights stored as for `(time, period)`.

    A CPU convolves along a contiguous dimension faster: in half the time with a period of 2.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """Convolve `(batch, channels, period, time)`."""
        step, padding = (self.stride[1], self.stride[0]), (int(self.padding[1]), int(self.padding[0]))
        return conv2d(hidden, self.weight.mT, self.bias, step, padding)


class PeriodDiscriminator(nn.Module):
    """Sees every `period`-th sample: audio folded to `(time / period, period)`, convolved along time only."""

    def __init__(self, period: int, channels: Sequence[int], kernel_size: int, stride: int, slope: float) -> None:
        super().__init__()
        self.period = period
        self.slope = slope
        strides = [stride] * (len(channels) - 1) + [1]
        self.convs = nn.ModuleList(
            weight_norm(PeriodConv(inputs, outputs, (kernel_size, 1), (step, 1), padding=(kernel_size // 2, 0)))
            for inputs, outputs, step in zip([1, *channels], channels, strides, strict=False)
        )
        self.conv_post = weight_norm(PeriodConv(channels[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Map audio `(batch, 1, time)` to logits `(batch, n)` and maps `(batch, channels, time, period)`."""
        audio = pad(audio, (0, -audio.shape[-1] % self.period), mode="reflect")
        hidden = audio.unflatten(-1, (-1, self.period)).mT
        features = []
        for conv in self.convs:
            hidden = leaky_relu(conv(hidden), self.slope)
            features.append(hidden.mT)
        return self.conv_post(hidden).mT.flatten(1), features


class MultiPeriodDiscriminator(Discriminator):
    """Detects periodic patterns, with one sub-discriminator for each of several coprime periods.

    HiFi-GAN's by default; UnivNet's has `channels=(64, 128, 256, 512, 1024)` and `slope=0.2`.

    Args:
        periods: Period (samples) of each sub-discriminator, which sees every `period`-th sample in one row.
        channels: Output channels of each convolution; all but the last one are strided.
        kernel_size: Length of the kernels along time.
        stride: Stride of the convolutions along time.
        slope: Negative slope of the leaky ReLU.
        first_map: Index of the first feature map that is returned; Vocos leaves out map 0.
    """

    @checked
    def __init__(
        self,
        periods: Sequence[PositiveInt] = (2, 3, 5, 7, 11),
        channels: Sequence[PositiveInt] = (32, 128, 512, 1024, 1024),
        kernel_size: PositiveInt = 5,
        stride: PositiveInt = 3,
        slope: NonNegativeFloat = 0.1,
        first_map: NonNegativeInt = 0,
    ) -> None:
        super().__init__()
        self.first_map = first_map
        self.discriminators = nn.ModuleList(
            PeriodDiscriminator(period, channels, kernel_size, stride, slope) for period in periods
        )

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        """Return logits and feature maps of audio `(batch, 1, time)` at each period."""
        logits, features = collect(discriminator(audio) for discriminator in self.discriminators)
        return logits, [maps[self.first_map :] for maps in features]
