"""The Descript audio codec: snake activations and factorised residual vector quantisation (Kumar et al., 2023)."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from framework.annotations import NonEmpty, NonNegativeFloat, PositiveInt
from framework.checks import check_halved, checked
from framework.discriminators.base import Discriminator
from framework.discriminators.dac import DACDiscriminator
from framework.generators.codecs.autoencoder import Autoencoder
from framework.generators.codecs.codec import Codec, CodecNetwork
from framework.generators.codecs.quantisation import Codebook, FactorisedCodebook, Quantised, ResidualQuantiser
from framework.hyperparameters import added
from framework.inference.incremental import Incremental, Pointwise, StreamedNetwork, Sum, incremental
from framework.inference.layers import normed_conv, normed_upsampling
from framework.losses.feature_matching import FeatureMatching
from framework.losses.multi_scale_mel import MultiScaleMelLoss
from framework.losses.stft import MultiResolutionSTFTLoss
from framework.paradigms.system import Losses

DILATIONS = (1, 3, 9)
"""Dilations of the residual units of a stage."""


class Snake(nn.Module):
    """Periodic activation x + sin^2(a x) / a, with a learnt for each channel (Ziyin et al., 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        return hidden + (self.alpha * hidden).sin().square() / (self.alpha + 1e-9)

    def incremental(self) -> Incremental:
        """Return the activation for input in pieces."""
        return Pointwise(self)


def conv(inputs: int, outputs: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """Return a normalised convolution that keeps the length; biases start at 0, weights as PyTorch draws them."""
    layer = normed_conv(inputs, outputs, kernel, dilation=dilation, padding=dilation * (kernel // 2))
    return unbiased(layer)


def unbiased(layer: nn.Conv1d) -> nn.Conv1d:
    """Start the biases of a convolution at 0."""
    assert layer.bias is not None
    layer.bias.data.zero_()
    return layer


class ResidualUnit(nn.Module):
    """A dilated convolution and one of a kernel of 1, beside an identity."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels), conv(channels, channels, 7, dilation), Snake(channels), conv(channels, channels, 1)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        return hidden + self.block(hidden)

    def incremental(self) -> Incremental:
        """Return the unit for input in pieces."""
        return Sum(Pointwise(nn.Identity()), incremental(self.block))


class EncoderBlock(nn.Module):
    """Residual units, then a convolution that doubles the channels and shortens time by a rate."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        units = [ResidualUnit(channels, dilation) for dilation in DILATIONS]
        shorten = unbiased(normed_conv(channels, 2 * channels, 2 * rate, rate, padding=math.ceil(rate / 2)))
        self.block = nn.Sequential(*units, Snake(channels), shorten)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)` to `(batch, 2 * channels, time / rate)`."""
        return self.block(hidden)


class DecoderBlock(nn.Module):
    """A transposed convolution that halves the channels and lengthens time by a rate, then residual units."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        half = channels // 2
        lengthen = normed_upsampling(channels, half, rate)
        units = [ResidualUnit(half, dilation) for dilation in DILATIONS]
        self.block = nn.Sequential(Snake(channels), lengthen, *units)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)` to `(batch, channels / 2, time * rate)`."""
        return self.block(hidden)

    def incremental(self) -> Incremental:
        """Return the block for input in pieces."""
        return incremental(self.block)


class DACEncoder(nn.Module):
    """Audio `(batch, 1, time)` -> latents `(batch, outputs, frames)`; time is a multiple of a frame.

    Args:
        channels: Width of the first layer; each stage doubles it.
        rates: Factor of each stage.
        outputs: Channels of the latents.
    """

    @checked
    def __init__(self, channels: PositiveInt, rates: Sequence[PositiveInt], outputs: PositiveInt) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv(1, channels, 7)]
        for rate in rates:
            layers.append(EncoderBlock(channels, rate))
            channels *= 2
        self.block = nn.Sequential(*layers, Snake(channels), conv(channels, outputs, 3))

    def forward(self, audio: Tensor) -> Tensor:
        """Encode audio."""
        return self.block(audio)


class DACDecoder(StreamedNetwork):
    """Latents `(batch, inputs, frames)` -> audio `(batch, 1, time)`.

    Args:
        inputs: Channels of the latents.
        channels: Width of the first layer; each stage halves it.
        rates: Factor of each stage.
    """

    @checked
    def __init__(self, inputs: PositiveInt, channels: PositiveInt, rates: Sequence[PositiveInt]) -> None:
        super().__init__()
        check_halved(channels, len(rates))
        layers: list[nn.Module] = [conv(inputs, channels, 7)]
        for rate in rates:
            layers.append(DecoderBlock(channels, rate))
            channels //= 2
        self.model = nn.Sequential(*layers, Snake(channels), conv(channels, 1, 7), nn.Tanh())

    def forward(self, latent: Tensor) -> Tensor:
        """Decode latents."""
        return self.model(latent)

    def incremental(self) -> Incremental:
        """Return the decoder for latents in pieces."""
        return incremental(self.model)


class DACNetwork(CodecNetwork):
    """Encoder, codebooks and decoder of the Descript audio codec (section 3), or parts that take their place.

    Args:
        encoder: Audio -> latents; its layers are its `block`.
        quantiser: The codebooks.
        decoder: Latents -> audio; its layers are its `model`.
        samples_per_frame: Samples that one frame of codes stands for.
    """

    def __init__(
        self, encoder: nn.Module, quantiser: ResidualQuantiser, decoder: nn.Module, samples_per_frame: int
    ) -> None:
        super().__init__(quantiser, samples_per_frame)
        self.encoder, self.decoder = encoder, decoder

    def encoder_layers(self) -> nn.Sequential:
        return cast(nn.Sequential, self.encoder.block)

    def decoder_layers(self) -> nn.Sequential:
        return cast(nn.Sequential, self.decoder.model)

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict."""
        return name.replace("quantizer.quantizers.", "quantiser.layers.")


class DACRecipe(Autoencoder):
    """The official training of an autoencoder of DAC's layers, whatever its bottleneck; at 44.1 kHz (section 3).

    Args:
        encoder_channels: Width of the encoder's first layer; each stage doubles it.
        decoder_channels: Width of the decoder's first layer; each stage halves it.
        rates: Factor of each of the encoder's stages; their product is a frame (samples).
        mel_weight: Weight of the L1 distance of log-mels at several scales.
        stft_weight: Weight of the multi-resolution STFT loss, which the paper does not have.
    """

    mel = "bigvgan_44k"
    learning_rate = 1e-4
    betas = (0.8, 0.99)
    learning_rate_decay = 0.999996
    decay_steps = 1
    encoder_channels: PositiveInt = 64
    decoder_channels: PositiveInt = 1536
    rates: NonEmpty[PositiveInt] = (2, 4, 8, 8)
    mel_weight: NonNegativeFloat = 15.0
    stft_weight: NonNegativeFloat = added(0.0)

    def build_encoder(self, outputs: int) -> nn.Module:
        """Return the network from audio `(batch, 1, time)` to `(batch, outputs, frames)`."""
        return DACEncoder(self.encoder_channels, self.rates, outputs)

    def build_decoder(self, inputs: int) -> nn.Module:
        """Return the network from latents `(batch, inputs, frames)` to audio `(batch, 1, time)`."""
        return DACDecoder(inputs, self.decoder_channels, self.rates[::-1])

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"dac": DACDiscriminator()}

    def build_feature_matching(self) -> FeatureMatching:
        return FeatureMatching(include_logits=False)

    def build_losses(self) -> dict[str, nn.Module]:
        return {"mel": MultiScaleMelLoss(self.preset.sample_rate), "stft": MultiResolutionSTFTLoss()}


class DAC(DACRecipe, Codec):
    """The Descript audio codec (Kumar et al., 2023), by the official recipe; the defaults are those for 44.1 kHz.

    Args:
        codebook_dim: Dimension of the space in which codes are looked up.
        codebook_weight: Weight of the distance that moves codes to latents.
    """

    n_codebooks = 9
    codebook_dim: PositiveInt = 8
    codebook_weight: NonNegativeFloat = 1.0

    def build_generator(self) -> DACNetwork:
        latents = self.encoder_channels * 2 ** len(self.rates)
        quantiser = ResidualQuantiser([self.build_codebook(latents) for _ in range(self.n_codebooks)])
        return DACNetwork(self.build_encoder(latents), quantiser, self.build_decoder(latents), math.prod(self.rates))

    def build_codebook(self, latents: int) -> Codebook:
        """Return one codebook of latents of so many channels."""
        return FactorisedCodebook(latents, self.codebook_size, self.codebook_dim)

    def code_losses(self, quantised: Quantised) -> Losses:
        """Return the distances of latents and codes, each the sum over the codebooks."""
        return {"commitment": quantised.commitment.sum(), "codebook": quantised.codebook.sum()}
