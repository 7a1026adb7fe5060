"""Parallel WaveGAN: a WaveNet without autoregression that turns noise into audio (Yamamoto et al., 2020)."""

import math
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from torch.nn.utils.parametrizations import weight_norm

from framework.annotations import Depth, NonEmpty, NonNegativeFloat, PositiveInt
from framework.checks import check_divisible, checked
from framework.discriminators.base import Discriminator
from framework.discriminators.parallel_wavegan import ParallelWaveGANDiscriminator
from framework.errors import InvalidValueError
from framework.inference.incremental import Incremental, StreamedNetwork, Window, incremental, nothing, run
from framework.losses.stft import MultiResolutionSTFTLoss
from framework.paradigms.adversarial import Adversarial

CONTEXT = 2
"""Frames that the first convolution of the mel sees on each side."""


def conv(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, bias: bool = True) -> nn.Conv1d:
    """Return a normalised convolution that keeps the length, with weights drawn as in the official code."""
    layer = nn.Conv1d(inputs, outputs, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return weight_norm(layer)


class Stretch(nn.Module):
    """Repeat each frame of `(batch, 1, mels, frames)` as often as `rate` says."""

    def __init__(self, rate: int) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, mel: Tensor) -> Tensor:
        """Return `(batch, 1, mels, frames * rate)`."""
        return interpolate(mel, scale_factor=(1, self.rate), mode="nearest")


class Smoothing(nn.Module):
    """Repetitions, each smoothed by a convolution over time that begins as a moving average.

    Args:
        rates: Factors, whose product is the hop length.
    """

    def __init__(self, rates: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for rate in rates:
            smooth = nn.Conv2d(1, 1, (1, 2 * rate + 1), padding=(0, rate), bias=False)
            nn.init.constant_(smooth.weight, 1 / (2 * rate + 1))
            layers += [Stretch(rate), weight_norm(smooth)]
        self.up_layers = nn.Sequential(*layers)

    def forward(self, mel: Tensor) -> Tensor:
        """Upsample `(batch, mels, frames)` to `(batch, mels, frames * hop)`."""
        return self.up_layers(mel.unsqueeze(1)).squeeze(1)


class MelUpsampling(nn.Module):
    """A convolution over frames, then the upsampling; edges are replicated.

    Args:
        n_mels: Mel bands.
        rates: Factors, whose product is the hop length.
    """

    def __init__(self, n_mels: int, rates: Sequence[int]) -> None:
        super().__init__()
        layer = nn.Conv1d(n_mels, n_mels, 2 * CONTEXT + 1, bias=False)
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        self.conv_in = weight_norm(layer)
        self.upsample = Smoothing(rates)

    def forward(self, mel: Tensor) -> Tensor:
        """Upsample `(batch, mels, frames)` to `(batch, mels, frames * hop)`."""
        return self.upsample(self.conv_in(pad(mel, (CONTEXT, CONTEXT), mode="replicate")))


class ResidualLayer(nn.Module):
    """Gated dilated convolution with the mel added (section 2.1), which sees both sides.

    Args:
        channels: Width of the residual and of the skip path.
        n_mels: Mel bands.
        dilation: Dilation of the convolution, whose kernel is 3.
    """

    def __init__(self, channels: int, n_mels: int, dilation: int) -> None:
        super().__init__()
        self.conv = conv(channels, 2 * channels, 3, dilation)
        self.conv1x1_aux = conv(n_mels, 2 * channels, bias=False)
        self.conv1x1_out = conv(channels, channels)
        self.conv1x1_skip = conv(channels, channels)

    def forward(self, hidden: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Transform `(batch, channels, time)` of a mel at the sample rate; return it and the skip path."""
        return self.gated(self.conv(hidden), hidden, mel)

    def gated(self, convolved: Tensor, hidden: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """Return what `forward` does, of the output of the dilated convolution."""
        filtered, gate = (convolved + self.conv1x1_aux(mel)).chunk(2, dim=1)
        gated = filtered.tanh() * gate.sigmoid()
        return (self.conv1x1_out(gated) + hidden) * math.sqrt(0.5), self.conv1x1_skip(gated)


class ResidualPieces:
    """A residual layer for input in pieces: hidden states, mel and skip path wait for the dilated convolution."""

    def __init__(self, layer: ResidualLayer) -> None:
        self.layer, self.conv = layer, incremental(layer.conv)
        self.waiting: list[Tensor] = []

    def __call__(self, hidden: Tensor, mel: Tensor, skips: Tensor, last: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return hidden states, mel and skip path of the samples that are known."""
        fresh = [hidden, mel, skips, self.conv(hidden, last)]
        if self.waiting:
            fresh = [torch.cat(pair, dim=-1) for pair in zip(self.waiting, fresh, strict=True)]
        known = fresh[-1].shape[-1]
        self.waiting = [signal[..., known:] for signal in fresh]
        hidden, mel, skips, convolved = (signal[..., :known] for signal in fresh)
        if not known:
            return hidden, mel, skips
        hidden, skip = self.layer.gated(convolved, hidden, mel)
        return hidden, mel, skips + skip


class ParallelWaveGANGenerator(StreamedNetwork):
    """Generator (section 2.1): log-mel `(batch, mels, frames)` and noise -> audio `(batch, 1, frames * hop)`.

    Args:
        n_mels: Mel bands of the input.
        channels: Width.
        layers: Residual layers.
        stacks: Cycles of dilations; each begins at 1 and doubles it from layer to layer.
        upsample_rates: Factors by which the mel is brought to the sample rate; their product is the hop length.

    Raises:
        ValueError: the layers are no multiple of the stacks.
    """

    @checked
    def __init__(
        self,
        n_mels: PositiveInt = 80,
        channels: PositiveInt = 64,
        layers: PositiveInt = 30,
        stacks: PositiveInt = 3,
        upsample_rates: Sequence[PositiveInt] = (4, 4, 4, 4),
    ) -> None:
        super().__init__()
        check_divisible(layers=(layers, stacks))
        self.hop_length, self.rates = math.prod(upsample_rates), tuple(upsample_rates)
        self.first_conv = conv(1, channels)
        self.upsample_net = MelUpsampling(n_mels, upsample_rates)
        dilations = [2 ** (layer % (layers // stacks)) for layer in range(layers)]
        self.conv_layers = nn.ModuleList(ResidualLayer(channels, n_mels, dilation) for dilation in dilations)
        self.last_conv_layers = nn.Sequential(nn.ReLU(), conv(channels, channels), nn.ReLU(), conv(channels, 1))

    def forward(self, mel: Tensor, noise: Tensor | None = None) -> Tensor:
        """Generate audio; the noise `(batch, 1, frames * hop)` is drawn if it is not given."""
        if noise is None:
            noise = torch.randn(len(mel), 1, mel.shape[-1] * self.hop_length, device=mel.device)
        hidden, mel = self.first_conv(noise), self.upsample_net(mel)
        skips: Any = 0
        for layer in self.conv_layers:
            hidden, skip = layer(hidden, mel)
            skips = skips + skip
        return self.last_conv_layers(skips * math.sqrt(1 / len(self.conv_layers)))

    def stream(self, pieces: Iterable[Tensor], noise: Iterable[Tensor] | None = None) -> Iterator[Tensor]:
        """Yield the audio `(batch, 1, time)` of a log-mel in pieces `(batch, mels, frames)`: that of the whole.

        Args:
            pieces: The log-mel.
            noise: Pieces `(batch, 1, frames * hop)`, one for each of the mel; drawn piece by piece if not given.

        Raises:
            InvalidValueError: the noise of a piece has another length than its mel.
        """
        drawn = None if noise is None else iter(noise)

        def joined() -> Iterator[Tensor]:
            for mel in pieces:
                shape = len(mel), 1, mel.shape[-1] * self.hop_length
                start = torch.randn(shape, device=mel.device) if drawn is None else next(drawn, mel.new_zeros(0))
                if start.shape != shape:
                    raise InvalidValueError(
                        f"the noise of a piece has the shape {tuple(start.shape)}, its mel needs {shape}"
                    )
                # A frame of the mel, and the samples of its noise.
                yield torch.cat([mel, start.reshape(len(mel), -1, self.hop_length).transpose(1, 2)], dim=1)

        return run(self.incremental(), joined())

    def incremental(self) -> Incremental:
        """Return the network for pieces of the mel, followed by the noise of each frame in the channels."""
        seen, rate = Fraction(CONTEXT), 1
        for factor in self.rates:
            # Each smoothing sees one of its inputs to each side, and repetition makes it one sample wider.
            seen += Fraction(factor, rate * factor)
            rate *= factor
        n_mels = self.upsample_net.conv_in.out_channels
        upsample = Window(self.upsample_net, math.ceil(seen) + 1, n_mels, rate=self.hop_length)
        layers = [ResidualPieces(cast(ResidualLayer, layer)) for layer in self.conv_layers]
        waiting = torch.empty(0)

        def generate(piece: Tensor, last: bool) -> Tensor:
            nonlocal waiting
            mel, noise = piece.split([n_mels, self.hop_length], dim=1)
            noise = noise.transpose(1, 2).reshape(len(piece), 1, -1)
            noise = torch.cat([waiting, noise], dim=-1) if waiting.numel() else noise
            mel = upsample(mel, last)
            noise, waiting = noise[..., : mel.shape[-1]], noise[..., mel.shape[-1] :]
            channels = self.first_conv.out_channels
            hidden = self.first_conv(noise) if noise.shape[-1] else nothing(noise, channels)
            skips = torch.zeros_like(hidden)
            for layer in layers:
                hidden, mel, skips = layer(hidden, mel, skips, last)
            if not skips.shape[-1]:
                return nothing(skips, 1)
            return self.last_conv_layers(skips * math.sqrt(1 / len(layers)))

        return generate


class ParallelWaveGAN(Adversarial):
    """Parallel WaveGAN vocoder (Yamamoto et al., 2020), by the recipe of kan-bayashi/ParallelWaveGAN.

    The official code standardises each mel band over its corpus, and clips the discriminator's gradient to 1 instead
    of `gradient_clip`.

    Args:
        channels: Width.
        layers: Residual layers.
        stacks: Cycles of dilations.
        upsample_rates: Factors by which the mel is brought to the sample rate; their product is the mel's hop length.
        stft_weight: Weight of the multi-resolution STFT loss.
    """

    mel = "pwg_22k"
    learning_rate = 1e-4
    betas = (0.9, 0.999)
    weight_decay = 0.0
    learning_rate_decay = 0.5
    decay_steps = 200_000
    gradient_clip = 10.0
    adversarial_start = 100_000
    adversarial_weight = 4.0
    feature_matching_weight = 0.0
    channels: PositiveInt = 64
    layers: Depth = 30
    stacks: Depth = 3
    upsample_rates: NonEmpty[PositiveInt] = (4, 4, 4, 4)
    stft_weight: NonNegativeFloat = 1.0

    def build_generator(self) -> ParallelWaveGANGenerator:
        sizes = self.channels, self.layers, self.stacks
        return ParallelWaveGANGenerator(self.preset.n_mels, *sizes, self.upsample_rates)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"waveform": ParallelWaveGANDiscriminator()}

    def build_losses(self) -> dict[str, nn.Module]:
        return {"stft": MultiResolutionSTFTLoss()}

    def build_optimizer(self, name: str, network: nn.Module) -> torch.optim.Optimizer:
        """Return rectified Adam; the discriminator learns at half the rate."""
        rate = self.learning_rate / 2 if name == "discriminator" else self.learning_rate
        return torch.optim.RAdam(network.parameters(), rate, self.betas, eps=1e-6, weight_decay=self.weight_decay)

    def condition(self, batch: dict[str, Any]) -> Tensor:
        """Return the log-mel, a frame for each hop of the audio."""
        frames = batch["audio"].shape[-1] // self.preset.hop_length
        return self.front_end(batch["audio"])[..., :frames]
