"""EnCodec: a causal convolutional autoencoder with residual vector quantisation (Défossez et al., 2023)."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, pad
from torch.nn.utils.parametrizations import weight_norm

from framework.annotations import NonEmpty, NonNegativeFloat, NonNegativeInt, PositiveInt, Range
from framework.checks import checked
from framework.discriminators.base import Discriminator
from framework.discriminators.multi_scale_stft import MultiScaleSTFTDiscriminator
from framework.errors import InvalidValueError
from framework.generators.codecs.codec import Codec, CodecNetwork
from framework.generators.codecs.quantisation import EMACodebook, Quantised, ResidualQuantiser
from framework.generators.codecs.streaming import SkipLSTM
from framework.inference.incremental import Incremental, StreamedNetwork, Sum, Upsampling, incremental, nothing
from framework.losses.adversarial import AdversarialLoss, Hinge
from framework.losses.balancer import Balancer
from framework.losses.feature_matching import FeatureMatching, RelativeFeatureMatching
from framework.losses.multi_scale_mel import EncodecMelLoss
from framework.paradigms.system import Losses


class CausalConv(nn.Conv1d):
    """Convolution that sees the past alone, reflected at the beginning; its last frame may reach beyond the end."""

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, inputs, time)` to `(batch, outputs, ceil(time / stride))`."""
        before = (self.kernel_size[0] - 1) * self.dilation[0] + 1 - self.stride[0]
        missing = -hidden.shape[-1] % self.stride[0]
        # What is to be reflected has to be longer than its reflection.
        short = max(max(before, missing) + 1 - hidden.shape[-1], 0)
        padded = pad(pad(hidden, (0, short)), (before, missing), mode="reflect")
        return super().forward(padded[..., : padded.shape[-1] - short])

    def incremental(self) -> Incremental:
        """Return the convolution for input in pieces.

        Raises:
            TypeError: it has a stride.
        """
        if self.stride[0] > 1:
            raise TypeError("a causal convolution of a stride cannot be given its input piece by piece")
        return CausalPieces(self)


class CausalUpsampling(nn.ConvTranspose1d):
    """Transposed convolution whose outputs depend on no later input."""

    def forward(self, hidden: Tensor, output_size: Any = None) -> Tensor:
        """Transform `(batch, inputs, time)` to `(batch, outputs, time * stride)`."""
        return super().forward(hidden)[..., : hidden.shape[-1] * self.stride[0]]

    def incremental(self) -> Incremental:
        """Return the upsampling for input in pieces."""
        layer = Upsampling(self)
        layer.behind = 0
        return layer


class CausalPieces:
    """A causal convolution of stride 1 for input in pieces: it begins when what it reflects is known."""

    def __init__(self, layer: CausalConv) -> None:
        self.layer, self.kept, self.begun = layer, None, False
        self.before = (layer.kernel_size[0] - 1) * layer.dilation[0]

    kept: Tensor | None

    def __call__(self, piece: Tensor, last: bool) -> Tensor:
        piece = piece if self.kept is None else torch.cat([self.kept, piece], dim=-1)
        self.kept = piece
        if not self.begun:
            if not piece.shape[-1] or (piece.shape[-1] <= self.before and not last):
                return nothing(piece, self.layer.out_channels)
            output = self.layer(piece)
        elif piece.shape[-1] == self.before:
            return nothing(piece, self.layer.out_channels)
        else:
            weight, bias, dilation = self.layer.weight, self.layer.bias, self.layer.dilation
            output = conv1d(piece, weight, bias, dilation=dilation)
        self.begun, self.kept = True, piece[..., max(piece.shape[-1] - self.before, 0) :]
        return output


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1) -> CausalConv:
    """Return a causal convolution with weight normalisation."""
    return weight_norm(CausalConv(inputs, outputs, kernel, stride, dilation=dilation))


class ResidualBlock(nn.Module):
    """Two convolutions through half the width, beside one of a kernel of 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.block = nn.Sequential(nn.ELU(), conv(channels, half, 3), nn.ELU(), conv(half, channels, 1))
        self.shortcut = conv(channels, channels, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        return self.shortcut(hidden) + self.block(hidden)

    def incremental(self) -> Incremental:
        """Return the block for input in pieces."""
        return Sum(incremental(self.shortcut), incremental(self.block))


class Stack(StreamedNetwork):
    """Layers one after the other, under the name that they have in official checkpoints."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.model = nn.Sequential(*layers)

    def forward(self, hidden: Tensor) -> Tensor:
        """Transform `(batch, channels, time)`."""
        return self.model(hidden)

    def incremental(self) -> Incremental:
        """Return the layers for input in pieces."""
        return incremental(self.model)


class EncodecNetwork(CodecNetwork):
    """Encoder, codebooks and decoder of EnCodec at 24 kHz (section 3.1).

    Args:
        channels: Width of the first layer; each stage doubles it.
        rates: Factors by which the decoder upsamples, in order; their product is a frame.
        latent_dim: Channels of the latents.
        n_codebooks: Number of codebooks.
        codebook_size: Codes of each.
        lstm_layers: Layers of the LSTM between the convolutions and the latents.
    """

    encoder: Stack
    decoder: Stack

    @checked
    def __init__(
        self,
        channels: PositiveInt = 32,
        rates: Sequence[PositiveInt] = (8, 5, 4, 2),
        latent_dim: PositiveInt = 128,
        codebooks: PositiveInt = 32,
        codebook_size: PositiveInt = 1024,
        lstm_layers: NonNegativeInt = 2,
    ) -> None:
        books = [EMACodebook(latent_dim, codebook_size) for _ in range(codebooks)]
        super().__init__(ResidualQuantiser(books), math.prod(rates))
        width = channels
        encoder: list[nn.Module] = [conv(1, channels, 7)]
        for rate in reversed(rates):
            encoder += [ResidualBlock(width), nn.ELU(), conv(width, 2 * width, 2 * rate, rate)]
            width *= 2
        self.encoder = Stack(*encoder, SkipLSTM(width, lstm_layers), nn.ELU(), conv(width, latent_dim, 7))
        decoder: list[nn.Module] = [conv(latent_dim, width, 7), SkipLSTM(width, lstm_layers)]
        for rate in rates:
            upsampling = weight_norm(CausalUpsampling(width, width // 2, 2 * rate, rate))
            decoder += [nn.ELU(), upsampling, ResidualBlock(width // 2)]
            width //= 2
        self.decoder = Stack(*decoder, nn.ELU(), conv(width, 1, 7))

    def encoder_layers(self) -> nn.Sequential:
        return self.encoder.model

    def decoder_layers(self) -> nn.Sequential:
        return self.decoder.model

    def padded(self, audio: Tensor) -> Tensor:
        """Return the audio: each convolution pads for itself."""
        return audio

    def official_names(self, name: str) -> str:
        """Translate a name of the official state dict."""
        name = name.replace(".conv.conv.", ".").replace(".convtr.convtr.", ".")
        return name.replace("quantizer.vq.layers.", "quantiser.layers.").replace("._codebook.", ".")


class Encodec(Codec):
    """EnCodec for mono audio at 24 kHz (Défossez et al., 2023), by the recipe of section 4.2.

    The official repository has no training code: weights and losses are the paper's, the balancer is the repository's.

    Args:
        channels: Width of the first layer; each stage doubles it.
        rates: Factors by which the decoder upsamples; their product is a frame (samples).
        latent_dim: Channels of the latents.
        lstm_layers: Layers of the LSTMs.
        trained_codebooks: The numbers of codebooks that training draws from, one a batch; none for all numbers.
        balanced: Whether each loss has the share of the gradient that its weight says, whatever its scale.
        waveform_weight: Weight of the L1 distance of the samples.
        mel_weight: Weight of the distance of mels at several scales.
    """

    mel = "vocos_24k"
    learning_rate = 3e-4
    betas = (0.5, 0.9)
    weight_decay = 0.0
    learning_rate_decay = 1.0
    adversarial_weight = 3.0
    feature_matching_weight = 3.0
    n_codebooks = 32
    commitment_weight = 1.0
    quantiser_dropout = 1.0
    channels: PositiveInt = 32
    rates: NonEmpty[PositiveInt] = (8, 5, 4, 2)
    latent_dim: PositiveInt = 128
    lstm_layers: Annotated[int, Range(0, 1000)] = 2
    trained_codebooks: tuple[PositiveInt, ...] = (2, 4, 8, 16, 32)
    balanced: bool = True
    waveform_weight: NonNegativeFloat = 0.1
    mel_weight: NonNegativeFloat = 1.0

    def build(self) -> None:
        """Make the networks and the balancer.

        Raises:
            ValueError: numbers of codebooks that there are not.
        """
        super().build()
        if any(not 1 <= books <= self.n_codebooks for books in self.trained_codebooks):
            raise InvalidValueError(
                f"trained_codebooks = {self.trained_codebooks}: there are {self.n_codebooks} codebooks"
            )
        self.balancer = Balancer(("adversarial", "feature_matching", *self.losses)) if self.balanced else None

    def build_generator(self) -> EncodecNetwork:
        size = self.n_codebooks, self.codebook_size
        return EncodecNetwork(self.channels, self.rates, self.latent_dim, *size, self.lstm_layers)

    def build_discriminators(self) -> dict[str, Discriminator]:
        return {"multi_scale_stft": MultiScaleSTFTDiscriminator()}

    def build_adversarial_loss(self) -> AdversarialLoss:
        return Hinge(clamp_generator=True)

    def build_feature_matching(self) -> FeatureMatching:
        return RelativeFeatureMatching()

    def build_losses(self) -> dict[str, nn.Module]:
        return {"waveform": nn.L1Loss(), "mel": EncodecMelLoss(self.preset.sample_rate)}

    def code_losses(self, quantised: Quantised) -> Losses:
        """Return the distance of latents and codes, the mean over the codebooks used."""
        return {"commitment": quantised.commitment.mean()}

    def draw_books(self, clips: int) -> Tensor:
        """Return one number of codebooks for all clips of a step, on whatever device: their averages are shared."""
        step = torch.Generator().manual_seed(self.global_step)
        known = self.trained_codebooks or tuple(range(1, self.n_codebooks + 1))
        drawn = known[int(torch.randint(len(known), (), generator=step))]
        lower = torch.rand((), generator=step) < self.quantiser_dropout
        return torch.full((clips,), drawn if lower else self.n_codebooks)

    def on_generator_losses(self, fake: Tensor, losses: Losses) -> None:
        """Weigh the losses of the audio by the gradients that they had so far."""
        if self.balancer is not None and fake.requires_grad:
            balanced = {name: term for name, term in losses.items() if name in self.balancer.names}
            self.balancer.weigh(fake, balanced, super().loss_weight, self.accumulate_grad_batches)

    def loss_weight(self, name: str) -> Any:
        """Return the weight of a named loss term."""
        weights = self.balancer.weights if self.balancer is not None else {}
        return weights.get(name, super().loss_weight(name))
