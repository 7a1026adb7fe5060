"""UnivNet: a vocoder whose kernels are predicted for each frame of the mel (Jang et al., 2021)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.annotations import NonEmpty, NonNegativeFloat, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_resolution import MultiResolutionDiscriminator
from framework.errors import InvalidValueError
from framework.generators.hifigan import UNCHANGED
from framework.inference.incremental import (
    Chain,
    Incremental,
    Pointwise,
    StreamedNetwork,
    Sum,
    Window,
    incremental,
    nothing,
    run,
)
from framework.inference.layers import normed_conv, normed_upsampling
from framework.losses.stft import MultiResolutionSTFTLoss
from framework.paradigms.adversarial import Adversarial

SLOPE, KERNEL, HIDDEN = 0.2, 3, 64


class KernelPredictor(nn.Module):
    """Kernels and biases of location-variable convolutions, for each frame (Zeng et al., 2021, section 2.2).

    Args:
        n_mels: Mel bands of the input.
        channels: Number of input channels of the convolution; it has twice as many output channels.
        layers: Convolutions.
    """

    def __init__(self, n_mels: int, channels: int, layers: int) -> None:
        super().__init__()
        self.layers, self.channels = layers, channels
        self.input_conv = nn.Sequential(normed_conv(n_mels, HIDDEN, 5, padding=2), nn.LeakyReLU(SLOPE))
        self.residual_convs = nn.ModuleList(
            nn.Sequential(
                # Numbered as in official checkpoints, whose dropout of 0 comes first.
                nn.Identity(),
                normed_conv(HIDDEN, HIDDEN, 3, padding=1),
                nn.LeakyReLU(SLOPE),
                normed_conv(HIDDEN, HIDDEN, 3, padding=1),
                nn.LeakyReLU(SLOPE),
            )
            for _ in range(3)
        )
        self.kernel_conv = normed_conv(HIDDEN, layers * channels * 2 * channels * KERNEL, 3, padding=1)
        self.bias_conv = normed_conv(HIDDEN, layers * 2 * channels, 3, padding=1)

    def forward(self, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return kernels `(layers, batch, frames, 2 * channels, channels * taps)` and biases, 1 wide."""
        hidden = self.input_conv(mel)
        for conv in self.residual_convs:
            hidden = hidden + conv(hidden)
        return self.shaped(self.kernel_conv(hidden), self.bias_conv(hidden))

    def shaped(self, kernels: Tensor, biases: Tensor) -> tuple[Tensor, Tensor]:
        """Return kernels and biases in the shapes of `forward` from the outputs of their convolutions."""
        kernels = kernels.unflatten(1, (self.layers, self.channels, 2 * self.channels, KERNEL))
        biases = biases.unflatten(1, (self.layers, 2 * self.channels, 1))
        return kernels.permute(1, 0, 5, 3, 2, 4).flatten(4), biases.permute(1, 0, 4, 2, 3)

    def incremental(self) -> Incremental:
        """Return the predictor for mels in pieces; kernels and biases are joined, `(batch, values, frames)`."""
        residual = (Sum(UNCHANGED, incremental(conv)) for conv in self.residual_convs)
        before = Chain(incremental(self.input_conv), *residual)
        kernels, biases = incremental(self.kernel_conv), incremental(self.bias_conv)

        def predict(piece: Tensor, last: bool) -> Tensor:
            hidden = before(piece, last)
            return torch.cat([kernels(hidden, last), biases(hidden, last)], dim=1)

        return predict


class Stage(nn.Module):
    """Upsamples, then convolves with the kernels of each frame and gates, after each of several dilated convolutions.

    Args:
        channels: Width.
        n_mels: Mel bands of the condition.
        rate: Factor of the upsampling.
        dilations: One for each convolution.
    """

    def __init__(self, channels: int, n_mels: int, rate: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.kernel_predictor = KernelPredictor(n_mels, channels, len(dilations))
        self.convt_pre = nn.Sequential(nn.LeakyReLU(SLOPE), normed_upsampling(channels, channels, rate))
        self.conv_blocks = nn.ModuleList(
            nn.Sequential(
                nn.LeakyReLU(SLOPE),
                normed_conv(channels, channels, KERNEL, padding=dilation * (KERNEL - 1) // 2, dilation=dilation),
                nn.LeakyReLU(SLOPE),
            )
            for dilation in dilations
        )

    def forward(self, hidden: Tensor, mel: Tensor) -> Tensor:
        """Transform `(batch, channels, time)` of a mel `(batch, mels, frames)`: `(batch, channels, time * rate)`."""
        hidden = self.convt_pre(hidden)
        for conv, kernel, bias in zip(self.conv_blocks, *self.kernel_predictor(mel), strict=True):
            gate, signal = location_variable(conv(hidden), kernel, bias).chunk(2, dim=1)
            hidden = hidden + gate.sigmoid() * signal.tanh()
        return hidden


class StagePieces:
    """A stage for a signal and a mel in pieces: each convolution waits for the kernels of its frames.

    Args:
        stage: The stage.
        hop_length: Samples of a frame at the stage's output.
    """

    def __init__(self, stage: Stage, hop_length: int) -> None:
        self.stage, self.hop_length = stage, hop_length
        self.upsample, self.predict = incremental(stage.convt_pre), incremental(stage.kernel_predictor)
        self.convolutions = [LocationVariablePieces(incremental(conv), hop_length) for conv in stage.conv_blocks]

    def __call__(self, hidden: Tensor, mel: Tensor, last: bool) -> Tensor:
        """Return the outputs that a piece of the signal and a piece of the mel make known."""
        predictor, hidden = self.stage.kernel_predictor, self.upsample(hidden, last)
        predicted = self.predict(mel, last)
        kernels, biases = predicted.split([predictor.kernel_conv.out_channels, predictor.bias_conv.out_channels], dim=1)
        for convolution, kernel, bias in zip(self.convolutions, *predictor.shaped(kernels, biases), strict=True):
            hidden = convolution(hidden, kernel, bias, last)
        return hidden


class LocationVariablePieces:
    """A convolution, then one with kernels of each frame and a gate beside an identity, for input in pieces.

    Args:
        conv: The convolution.
        hop_length: Samples of a frame.
    """

    def __init__(self, conv: Incremental, hop_length: int) -> None:
        self.conv, self.hop_length = conv, hop_length
        self.waiting: list[Tensor] = []
        self.before: Tensor | None = None

    def __call__(self, hidden: Tensor, kernel: Tensor, bias: Tensor, last: bool) -> Tensor:
        """Return the frames of the output that are known, of kernels and biases as `location_variable` takes them."""
        fresh = [hidden.transpose(1, 2), self.conv(hidden, last).transpose(1, 2), kernel, bias]
        if self.waiting:
            fresh = [torch.cat(pair, dim=1) for pair in zip(self.waiting, fresh, strict=True)]
        residual, convolved, kernel, bias = fresh
        half, hop = KERNEL // 2, self.hop_length
        frames = min((convolved.shape[1] - (0 if last else half)) // hop, residual.shape[1] // hop, kernel.shape[1])
        frames = max(frames, 0)
        time = frames * hop
        self.waiting = [residual[:, time:], convolved[:, time:], kernel[:, frames:], bias[:, frames:]]
        if not frames:
            return nothing(hidden, hidden.shape[1])
        before = convolved.new_zeros(len(convolved), half, convolved.shape[2]) if self.before is None else self.before
        behind = pad(convolved[:, time : time + half], (0, 0, 0, max(time + half - convolved.shape[1], 0)))
        self.before = convolved[:, time - half : time]
        around = torch.cat([before, convolved[:, :time], behind], dim=1).transpose(1, 2)
        varied = location_variable(around, kernel[:, :frames], bias[:, :frames], padded=True)
        gate, signal = varied.chunk(2, dim=1)
        return residual[:, :time].transpose(1, 2) + gate.sigmoid() * signal.tanh()


def location_variable(hidden: Tensor, kernel: Tensor, bias: Tensor, padded: bool = False) -> Tensor:
    """Convolve each frame of `(batch, channels, frames * hop)` with its own kernel (equation 1 of Zeng et al.).

    Args:
        hidden: The signal, as if with silence around it.
        kernel: `(batch, frames, outputs, channels * taps)`.
        bias: `(batch, frames, outputs, 1)`.
        padded: Whether the signal has the samples around it already, `KERNEL // 2` at each end.

    Returns:
        `(batch, outputs, frames * hop)`.
    """
    around = hidden if padded else pad(hidden, (KERNEL // 2, KERNEL // 2))
    time = around.shape[-1] - KERNEL + 1
    shifted = torch.stack([around[..., tap : tap + time] for tap in range(KERNEL)], dim=2)
    windows = shifted.unflatten(-1, (kernel.shape[1], -1)).permute(0, 3, 1, 2, 4).flatten(2, 3)
    return (kernel @ windows + bias).transpose(1, 2).flatten(2)


class UnivNetGenerator(StreamedNetwork):
    """Generator of UnivNet (section 2.1): log-mel `(batch, mels, frames)` and noise -> audio `(batch, 1, time)`.

    Args:
        n_mels: Mel bands of the input.
        channels: Width: 16 or 32.
        noise: Channels of the noise.
        rates: Factor of each stage; their product is the hop length.
        dilations: The dilations of each stage's convolutions.
    """

    @checked
    def __init__(
        self,
        n_mels: PositiveInt = 100,
        channels: PositiveInt = 16,
        noise: PositiveInt = 64,
        rates: Sequence[PositiveInt] = (8, 8, 4),
        dilations: Sequence[PositiveInt] = (1, 3, 9, 27),
    ) -> None:
        super().__init__()
        self.hop_length, self.noise = math.prod(rates), noise
        self.conv_pre = normed_conv(noise, channels, 7, padding=3, padding_mode="reflect")
        self.res_stack = nn.ModuleList(Stage(channels, n_mels, rate, dilations) for rate in rates)
        conv_post = normed_conv(channels, 1, 7, padding=3, padding_mode="reflect")
        self.conv_post = nn.Sequential(nn.LeakyReLU(SLOPE), conv_post, nn.Tanh())

    def forward(self, mel: Tensor, noise: Tensor | None = None) -> Tensor:
        """Generate audio in [-1, 1]; the noise `(batch, noise, frames)` is drawn if it is not given.

        Raises:
            ValueError: so few frames that their edges cannot be reflected.
        """
        if mel.shape[-1] < 4:
            raise InvalidValueError(f"too few frames: the edges of 4 or more are reflected, not of {mel.shape[-1]}")
        if noise is None:
            noise = torch.randn(len(mel), self.noise, mel.shape[-1], device=mel.device)
        hidden = self.conv_pre(noise)
        for stage in self.res_stack:
            hidden = stage(hidden, mel)
        return self.conv_post(hidden)

    def stream(self, pieces: Iterable[Tensor], noise: Iterable[Tensor] | None = None) -> Iterator[Tensor]:
        """Yield the audio `(batch, 1, time)` of a log-mel in pieces `(batch, mels, frames)`: that of the whole.

        Args:
            pieces: The log-mel.
            noise: Pieces `(batch, noise, frames)` as long as those of the mel; drawn piece by piece if not given.

        Raises:
            InvalidValueError: the noise of a piece has another length than its mel.
        """
        drawn = None if noise is None else iter(noise)

        def joined() -> Iterator[Tensor]:
            for mel in pieces:
                shape = len(mel), self.noise, mel.shape[-1]
                start = torch.randn(shape, device=mel.device) if drawn is None else next(drawn, mel.new_zeros(0))
                if start.shape != shape:
                    raise InvalidValueError(
                        f"the noise of a piece has the shape {tuple(start.shape)}, its mel needs {shape}"
                    )
                yield torch.cat([mel, start], dim=1)

        return run(self.incremental(), joined())

    def incremental(self) -> Incremental:
        """Return the network for pieces of the mel, followed by the noise in the channels."""
        activation, conv, squash = self.conv_post
        begin = Window(self.conv_pre, 3, self.conv_pre.out_channels, least=4)
        end = Chain(Pointwise(activation), Window(conv, 3, 1, least=4), Pointwise(squash))
        stages, hop_length = [], 1
        for stage in cast(Iterable[Stage], self.res_stack):
            hop_length *= cast(nn.ConvTranspose1d, stage.convt_pre[1]).stride[0]
            stages.append(StagePieces(stage, hop_length))

        def generate(piece: Tensor, last: bool) -> Tensor:
            mel, noise = piece.split([piece.shape[1] - self.noise, self.noise], dim=1)
            hidden = begin(noise, last)
            for stage in stages:
                hidden = stage(hidden, mel, last)
            return end(hidden, last)

        return generate


class UnivNet(Adversarial):
    """UnivNet vocoder (Jang et al., 2021), by the official recipe; the defaults are UnivNet-c16's.

    Args:
        channels: Width of the generator.
        noise: Channels of the noise that it begins with.
        rates: Factor of each stage; their product is the mel's hop length.
        dilations: The dilations of each stage's convolutions.
        stft_weight: Weight of the multi-resolution STFT loss (equation 5).
        multi_period_weight: Weight of the multi-period discriminator's losses: the mean over all sub-discriminators.
        multi_resolution_weight: Weight of the multi-resolution discriminator's.
    """

    mel = "univnet_24k"
    learning_rate = 1e-4
    betas = (0.5, 0.9)
    learning_rate_decay = 1.0
    feature_matching_weight = 0.0
    channels: PositiveInt = 16
    noise: PositiveInt = 64
    rates: NonEmpty[PositiveInt] = (8, 8, 4)
    dilations: NonEmpty[PositiveInt] = (1, 3, 9, 27)
    stft_weight: NonNegativeFloat = 2.5
    multi_period_weight: NonNegativeFloat = 1 / 8
    multi_resolution_weight: NonNegativeFloat = 1 / 8

    def build_generator(self) -> UnivNetGenerator:
        return UnivNetGenerator(self.preset.n_mels, self.channels, self.noise, self.rates, self.dilations)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {
            "multi_period": MultiPeriodDiscriminator(channels=(64, 128, 256, 512, 1024), slope=0.2),
            "multi_resolution": MultiResolutionDiscriminator(),
        }

    def build_losses(self) -> dict[str, nn.Module]:
        return {"stft": MultiResolutionSTFTLoss()}
