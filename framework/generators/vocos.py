"""Vocos: a vocoder that works at the frame rate and leaves upsampling to an inverse transform (Siuzdak, 2024)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose1d, fold, gelu, pad

from framework.annotations import Depth, NonNegativeFloat, PositiveInt
from framework.checks import checked
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_resolution import BandSplitDiscriminator
from framework.hyperparameters import added
from framework.inference.incremental import (
    Chain,
    Incremental,
    OverlapAdd,
    Pointwise,
    StreamedNetwork,
    Sum,
    float32_region,
    incremental,
)
from framework.losses.adversarial import AdversarialLoss, Hinge
from framework.losses.mel import MelLoss
from framework.losses.stft import MultiResolutionSTFTLoss
from framework.paradigms.adversarial import Adversarial

Padding = Literal["same", "center"]
LOUDEST = 100.0
"""Greatest magnitude of a coefficient, which keeps the exponential in bounds."""


class ConvNeXtBlock(nn.Module):
    """ConvNeXt block (Liu et al., 2022) over time: a depthwise convolution, then two layers over channels.

    Args:
        channels: Width.
        hidden: Width between the two layers.
        scale: What the learnt factor on the residual branch starts at.
    """

    def __init__(self, channels: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.dwconv = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, hidden)
        self.pwconv2 = nn.Linear(hidden, channels)
        self.gamma = nn.Parameter(torch.full((channels,), scale))

    def forward(self, frames: Tensor) -> Tensor:
        """Transform `(batch, channels, frames)`."""
        return frames + self.pointwise(self.dwconv(frames))

    def pointwise(self, frames: Tensor) -> Tensor:
        """Transform each frame of `(batch, channels, frames)` by itself."""
        hidden = self.norm(frames.transpose(1, 2))
        hidden = self.gamma * self.pwconv2(gelu(self.pwconv1(hidden)))
        return hidden.transpose(1, 2)

    def incremental(self) -> Incremental:
        """Return the block for frames in pieces."""
        return Sum(Pointwise(nn.Identity()), Chain(incremental(self.dwconv), Pointwise(self.pointwise)))


class VocosBackbone(nn.Module):
    """The network that keeps the frame rate (section 3.2): features `(batch, inputs, frames)` -> hidden states.

    Args:
        inputs: Channels of the features.
        channels: Width.
        hidden: Width inside a block.
        layers: Blocks.
    """

    @checked
    def __init__(self, inputs: PositiveInt, channels: PositiveInt, hidden: PositiveInt, layers: PositiveInt) -> None:
        super().__init__()
        self.embed = nn.Conv1d(inputs, channels, 7, padding=3)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.convnext = nn.ModuleList(ConvNeXtBlock(channels, hidden, 1 / layers) for _ in range(layers))
        self.final_layer_norm = nn.LayerNorm(channels, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Conv1d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                module.bias.data.zero_()  # type: ignore[union-attr]

    def forward(self, features: Tensor) -> Tensor:
        """Return hidden states `(batch, frames, channels)`."""
        hidden = self.normalise(self.embed(features))
        for block in self.convnext:
            hidden = block(hidden)
        return self.final_layer_norm(hidden.transpose(1, 2))

    def normalise(self, hidden: Tensor) -> Tensor:
        """Normalise the channels of each frame of `(batch, channels, frames)`."""
        return self.norm(hidden.transpose(1, 2)).transpose(1, 2)

    def incremental(self) -> Incremental:
        """Return the backbone for features in pieces; its hidden states are `(batch, frames, channels)` then, too."""
        layers = Chain(incremental(self.embed), Pointwise(self.normalise), *map(incremental, self.convnext))
        return lambda piece, last: self.final_layer_norm(layers(piece, last).transpose(1, 2))


class ShortTimeFourier(nn.Module):
    """Short-time Fourier transform with a Hann window, and its inverse.

    Args:
        n_fft: Length of the transform and its window (samples).
        hop_length: Samples between two frames.
        padding: `center`, whose first frame is centred on the first sample and of which (frames - 1) * hop samples come
            back; or `same`, of frames * hop samples.
    """

    window: Tensor

    def __init__(self, n_fft: int, hop_length: int, padding: Padding) -> None:
        super().__init__()
        self.n_fft, self.hop_length, self.padding = n_fft, hop_length, padding
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)

    def batch_from_audio(self, audio: Tensor) -> Tensor:
        """Return the spectrum `(batch, bins, frames)` of audio `(batch, time)`, with silence around it."""
        around = self.n_fft // 2 if self.padding == "center" else (self.n_fft - self.hop_length) // 2
        sizes = self.n_fft, self.hop_length, self.n_fft, self.window
        return torch.stft(pad(audio, (around, around)), *sizes, center=False, return_complex=True)

    def invert(self, spectrum: Tensor) -> Tensor:
        """Return the audio `(batch, time)` of a spectrum `(batch, bins, frames)`."""
        if self.padding == "center":
            return torch.istft(spectrum, self.n_fft, self.hop_length, window=self.window)
        # torch.istft refuses edges that the windows do not cover; they are cut off here.
        frames = torch.fft.irfft(spectrum, self.n_fft, dim=1) * self.window[:, None]
        weights = self.window.square()[None, :, None].expand(1, -1, spectrum.shape[-1])
        return self.overlap_add(frames) / self.overlap_add(weights)

    def overlap_add(self, frames: Tensor) -> Tensor:
        """Add up frames `(batch, n_fft, frames)` at their places: `(batch, frames * hop)`."""
        time = (frames.shape[-1] - 1) * self.hop_length + self.n_fft
        added = fold(frames, (1, time), (1, self.n_fft), stride=(1, self.hop_length)).flatten(1)
        edge = (self.n_fft - self.hop_length) // 2
        return added[:, edge : time - edge]


class FourierHead(ShortTimeFourier):
    """Magnitudes and phases of a short-time Fourier transform, inverted (section 3.3).

    The phase is an angle that may wrap: it enters by its cosine and sine.

    Args:
        channels: Width of the hidden states.
        n_fft: Length of the transform and its window (samples).
        hop_length: Samples between two frames.
        padding: `center` makes (frames - 1) * hop samples, `same` frames * hop.
    """

    def __init__(self, channels: int, n_fft: int, hop_length: int, padding: Padding) -> None:
        super().__init__(n_fft, hop_length, padding)
        self.out = nn.Linear(channels, n_fft + 2)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return audio `(batch, 1, time)` of hidden states `(batch, frames, channels)`."""
        return self.invert(self.spectrum(hidden)).unsqueeze(1)

    def spectrum(self, hidden: Tensor) -> Tensor:
        """Return the spectrum `(batch, bins, frames)` that hidden states mean."""
        log_magnitude, phase = self.out(hidden).float().transpose(1, 2).chunk(2, dim=1)
        return torch.polar(log_magnitude.exp().clamp(max=LOUDEST), phase)

    def incremental(self) -> Incremental:
        """Return the head for hidden states `(batch, frames, channels)` in pieces."""
        edge = self.n_fft // 2 if self.padding == "center" else (self.n_fft - self.hop_length) // 2
        added, weights = (OverlapAdd(self.n_fft, self.hop_length, edge) for _ in range(2))

        def generate(piece: Tensor, last: bool) -> Tensor:
            if piece.shape[1]:
                frames = torch.fft.irfft(self.spectrum(piece), self.n_fft, dim=1) * self.window[:, None]
            else:
                frames = piece.new_zeros(len(piece), self.n_fft, 0)
            squares = self.window.square()[None, :, None].expand(1, -1, piece.shape[1])
            return added(frames, last) / weights(squares, last)

        return generate


class CosineHead(nn.Module):
    """Inverse modified discrete cosine transform (MDCT) of coefficients e^m cos(p) (appendix).

    The transform is critically sampled: a frame is as many coefficients as samples, of a window of two hops.

    Args:
        channels: Width of the hidden states.
        hop_length: Samples between two frames, and coefficients of one.
        padding: `center` makes (frames - 1) * hop samples, `same` frames * hop.
    """

    values: int = 2
    """Outputs of the network for one coefficient."""
    basis: Tensor

    def __init__(self, channels: int, hop_length: int, padding: Padding) -> None:
        super().__init__()
        self.hop_length = hop_length
        self.edge = hop_length if padding == "center" else hop_length // 2
        self.out = nn.Linear(channels, self.values * hop_length)
        self.register_buffer("basis", mdct_basis(hop_length), persistent=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return audio `(batch, 1, time)` of hidden states `(batch, frames, channels)`."""
        coefficients = self.coefficients(self.out(hidden).float()).transpose(1, 2)
        with torch.autocast(coefficients.device.type, enabled=False):
            audio = conv_transpose1d(coefficients, self.basis, stride=self.hop_length)
        return audio[..., self.edge : audio.shape[-1] - self.edge]

    def incremental(self) -> Incremental:
        """Return the head for hidden states `(batch, frames, channels)` in pieces."""
        added = OverlapAdd(2 * self.hop_length, self.hop_length, self.edge)

        def generate(piece: Tensor, last: bool) -> Tensor:
            coefficients = self.coefficients(self.out(piece).float())
            with float32_region(piece):
                return added((coefficients @ self.basis[:, 0]).transpose(1, 2), last)

        return generate

    def coefficients(self, output: Tensor) -> Tensor:
        """Return the coefficients that the network's output means, both `(batch, frames, n)`."""
        log_magnitude, phase = output.chunk(2, dim=-1)
        return log_magnitude.exp().clamp(max=LOUDEST) * phase.cos()


class SymmetricExponentialHead(CosineHead):
    """Inverse MDCT of coefficients sign(x) (e^|x| - 1) (appendix)."""

    values = 1

    def coefficients(self, output: Tensor) -> Tensor:
        """Return the coefficients that the network's output means, both `(batch, frames, n)`."""
        return (output.sign() * output.abs().expm1()).clamp(-LOUDEST, LOUDEST)


def mdct_basis(hop_length: int) -> Tensor:
    """Return the MDCT's windowed cosines `(coefficient, 1, 2 * hop)`, orthonormal to 1e-4 (Princen et al., 1987).

    They are cos(pi / hop (n + 1/2 + hop/2) (k + 1/2)), as the sum of two phases that the official code rounds to
    float32 when they are hundreds of turns: without the same error its weights would sound 1e-4 different.
    """
    time = 2 * hop_length
    samples = torch.arange(time)
    middle = (hop_length + 1) / 2
    before = torch.exp(1j * math.pi * middle * samples / hop_length).to(torch.cdouble)
    after = torch.exp(1j * math.pi * (samples + middle) / time).to(torch.cdouble)
    turns = torch.exp(2j * math.pi / time * (torch.outer(samples, samples) % time).to(torch.cdouble))
    waves = before[:, None] * turns * after
    cosines = (waves[:hop_length] - waves[hop_length:].flip(0)).real / 2
    window = torch.sin(math.pi / time * (samples.double() + 0.5))
    return (math.sqrt(2 / hop_length) * window * cosines).float().unsqueeze(1)


class VocosNetwork(StreamedNetwork):
    """Backbone and head: log-mel `(batch, mels, frames)` -> audio `(batch, 1, time)`."""

    def __init__(self, backbone: VocosBackbone, head: FourierHead | CosineHead) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.hop_length = head.hop_length

    def forward(self, mel: Tensor) -> Tensor:
        """Generate audio of a log-mel."""
        return self.head(self.backbone(mel))

    def incremental(self) -> Incremental:
        """Return the network for log-mels in pieces."""
        return Chain(incremental(self.backbone), incremental(self.head))

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict; its mel front end, which is pinned by name here, has none."""
        return "" if name.startswith("feature_extractor.") else name.replace("istft.window", "window")


class VocosDecoder(StreamedNetwork):
    """Latents `(batch, inputs, frames)` of any encoder -> audio `(batch, 1, frames * hop)`, at the frame rate.

    Args:
        inputs: Channels of the latents.
        hop_length: Samples that a frame stands for; the transform is four times as long.
        channels: Width of the backbone.
        hidden: Width inside its blocks.
        layers: Blocks.
    """

    @checked
    def __init__(
        self,
        inputs: PositiveInt,
        hop_length: PositiveInt,
        channels: PositiveInt,
        hidden: PositiveInt,
        layers: PositiveInt,
    ) -> None:
        super().__init__()
        head = FourierHead(channels, 4 * hop_length, hop_length, "same")
        self.model = nn.Sequential(VocosBackbone(inputs, channels, hidden, layers), head)

    def forward(self, latent: Tensor) -> Tensor:
        """Decode latents."""
        return self.model(latent)

    def incremental(self) -> Incremental:
        """Return the decoder for latents in pieces."""
        return incremental(self.model)


class Vocos(Adversarial):
    """Vocos vocoder (Siuzdak, 2024), by the official recipe for mels at 24 kHz.

    Args:
        channels: Width of the backbone.
        hidden: Width inside its blocks.
        layers: Blocks.
        mel_weight: Weight of the L1 loss between log-mels.
        stft_weight: Weight of the multi-resolution STFT loss, which the paper does not have.
        multi_period_weight: Weight of the multi-period discriminator's losses: the mean of its five.
        multi_resolution_weight: Weight of the multi-resolution discriminator's: a tenth of the mean of its three.
    """

    mel = "vocos_24k"
    learning_rate = 5e-4
    betas = (0.8, 0.9)
    learning_rate_decay = 1.0
    schedule = "cosine"
    feature_matching_weight = 1.0
    channels: PositiveInt = 512
    hidden: PositiveInt = 1536
    layers: Depth = 8
    mel_weight: NonNegativeFloat = 45.0
    stft_weight: NonNegativeFloat = added(0.0)
    multi_period_weight: NonNegativeFloat = 1 / 5
    multi_resolution_weight: NonNegativeFloat = 0.1 / 3

    def build_generator(self) -> VocosNetwork:
        return VocosNetwork(
            VocosBackbone(self.preset.n_mels, self.channels, self.hidden, self.layers), self.build_head()
        )

    def build_head(self) -> FourierHead | CosineHead:
        """Return what makes audio of the backbone's hidden states."""
        return FourierHead(self.channels, self.preset.n_fft, self.preset.hop_length, self.preset.padding)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_period": MultiPeriodDiscriminator(first_map=1), "multi_resolution": BandSplitDiscriminator()}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return Hinge(clamp_generator=True)

    def build_losses(self) -> dict[str, nn.Module]:
        return {"mel": MelLoss(self.preset.full_band()), "stft": MultiResolutionSTFTLoss()}
