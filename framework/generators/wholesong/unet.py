"""The U-Net of latent diffusion (Rombach et al., 2022, appendix E.2.1), over images of any two directions.

Images are `(batch, channels, time, pitch)`; tokens, what the image attends to, `(batch, tokens, width)`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention

from framework.annotations import NonNegativeInt, PositiveInt
from framework.checks import checked

_GROUPS = 32
_LONGEST_PERIOD = 10_000.0


def normalisation(channels: int, epsilon: float = 1e-5) -> nn.GroupNorm:
    """Return group normalisation: 32 groups, or as many as divide a smaller number of channels."""
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels, epsilon)


class ResidualBlock(nn.Module):
    """Two convolutions, the timestep's embedding added in between.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        width: The width of the timestep's embedding.
    """

    def __init__(self, inputs: int, outputs: int, width: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(normalisation(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(width, outputs))
        self.out_layers = nn.Sequential(
            normalisation(outputs), nn.SiLU(), nn.Dropout(0.0), nn.Conv2d(outputs, outputs, 3, padding=1)
        )
        self.skip_connection = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Transform an image, given the embedding `(batch, width)` of its timestep."""
        hidden = self.in_layers(x) + self.emb_layers(embedding)[..., None, None]
        return self.skip_connection(x) + self.out_layers(hidden)


class Attention(nn.Module):
    """Multi-head attention of queries `(batch, places, channels)` to tokens of any width.

    Args:
        channels: Number of channels of the queries and of the output.
        tokens: Width of what is attended to.
        heads: Number of heads.
    """

    def __init__(self, channels: int, tokens: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(channels, channels, bias=False)
        self.to_k = nn.Linear(tokens, channels, bias=False)
        self.to_v = nn.Linear(tokens, channels, bias=False)
        self.to_out = nn.Sequential(nn.Linear(channels, channels))

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Return `(batch, places, channels)`."""
        projected = (self.to_q(x), self.to_k(tokens), self.to_v(tokens))
        query, key, value = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in projected)
        return self.to_out(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class GatedGELU(nn.Module):
    """A linear layer, half of whose outputs gate the others (Shazeer, 2020)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, 2 * outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(..., outputs)` of `(..., inputs)`."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * gelu(gate)


class FeedForward(nn.Module):
    """Two layers, the hidden one four times as wide."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GatedGELU(channels, 4 * channels), nn.Dropout(0.0), nn.Linear(4 * channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return `(..., channels)`."""
        return self.net(x)


class TransformerBlock(nn.Module):
    """Attention of the places to one another, then to the tokens, then a layer at each place."""

    def __init__(self, channels: int, tokens: int, heads: int) -> None:
        super().__init__()
        self.attn1, self.norm1 = Attention(channels, channels, heads), nn.LayerNorm(channels)
        self.attn2, self.norm2 = Attention(channels, tokens, heads), nn.LayerNorm(channels)
        self.ff, self.norm3 = FeedForward(channels), nn.LayerNorm(channels)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Transform `(batch, places, channels)`."""
        normalised = self.norm1(x)
        x = x + self.attn1(normalised, normalised)
        x = x + self.attn2(self.norm2(x), tokens)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer over all places of an image."""

    def __init__(self, channels: int, tokens: int, heads: int) -> None:
        super().__init__()
        self.norm = normalisation(channels, 1e-6)
        self.proj_in = nn.Conv2d(channels, channels, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(channels, tokens, heads)])
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Transform an image that attends to tokens."""
        places = self.proj_in(self.norm(x)).flatten(2).transpose(1, 2)
        for block in self.transformer_blocks:
            places = block(places, tokens)
        return x + self.proj_out(places.transpose(1, 2).unflatten(2, x.shape[2:]))


class Halve(nn.Module):
    """A convolution that halves time and pitch."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, channels, time / 2, pitch / 2)`."""
        return self.op(x)


class Double(nn.Module):
    """Every place repeated in time and pitch, then a convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(batch, channels, 2 time, 2 pitch)`."""
        return self.conv(interpolate(x, scale_factor=2.0, mode="nearest"))


class Stage(nn.ModuleList):
    """Layers in turn, each given what it takes beside the image."""

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor) -> Tensor:
        """Transform an image, given its timestep's embedding and what it may attend to."""
        for layer in self:
            if isinstance(layer, ResidualBlock):
                x = layer(x, embedding)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, tokens)
            else:
                x = layer(x)
        return x


class UNet(nn.Module):
    """The U-Net: `(batch, inputs, time, pitch)`, timesteps `(batch,)`, tokens -> `(batch, outputs, time, pitch)`.

    Args:
        inputs: Channels of the noisy image and of what it is given beside.
        outputs: Channels of the noisy image.
        channels: Number of channels of the first resolution.
        multipliers: Factor of the channels at each resolution; each is half as fine as the one before.
        attention: Numbers of the resolutions with transformers; the coarsest has one in any case.
        blocks: Residual blocks at each resolution.
        heads: Number of heads of the attention.
        tokens: Width of what is attended to.
    """

    @checked
    def __init__(
        self,
        inputs: PositiveInt,
        outputs: PositiveInt,
        channels: PositiveInt = 64,
        multipliers: Sequence[PositiveInt] = (1, 2, 4, 4),
        attention: Sequence[NonNegativeInt] = (2, 3),
        blocks: PositiveInt = 2,
        heads: PositiveInt = 4,
        tokens: PositiveInt = 128,
    ) -> None:
        super().__init__()
        self.channels, width = channels, 4 * channels
        self.time_embed = nn.Sequential(nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width))
        now, last = channels, len(multipliers) - 1
        self.input_blocks = nn.ModuleList([Stage([nn.Conv2d(inputs, now, 3, padding=1)])])
        kept = [now]

        def block(number: int, extra: int = 0) -> list[nn.Module]:
            nonlocal now
            residual = ResidualBlock(now + extra, channels * multipliers[number], width)
            now = channels * multipliers[number]
            return [residual, SpatialTransformer(now, tokens, heads)] if number in attention else [residual]

        for number in range(len(multipliers)):
            for _ in range(blocks):
                self.input_blocks.append(Stage(block(number)))
                kept.append(now)
            if number != last:
                self.input_blocks.append(Stage([Halve(now)]))
                kept.append(now)
        self.middle_block = Stage(
            [ResidualBlock(now, now, width), SpatialTransformer(now, tokens, heads), ResidualBlock(now, now, width)]
        )
        self.output_blocks = nn.ModuleList()
        for number in reversed(range(len(multipliers))):
            for turn in range(blocks + 1):
                layers = block(number, extra=kept.pop())
                if number != 0 and turn == blocks:
                    layers.append(Double(now))
                self.output_blocks.append(Stage(layers))
        self.out = nn.Sequential(normalisation(now), nn.SiLU(), nn.Conv2d(now, outputs, 3, padding=1))

    def embed(self, timesteps: Tensor) -> Tensor:
        """Embed timesteps `(batch,)` by cosines and sines and two layers, as `(batch, 4 channels)`."""
        half = self.channels // 2
        exponents = torch.arange(half, dtype=torch.float32, device=timesteps.device) / half
        angles = timesteps[:, None].float() * torch.exp(-math.log(_LONGEST_PERIOD) * exponents)
        return self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=-1))

    def forward(self, x: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict of the channels that are noisy, which come first, what the objective asks for."""
        embedding, kept = self.embed(timesteps), []
        for stage in self.input_blocks:
            x = stage(x, embedding, tokens)
            kept.append(x)
        x = self.middle_block(x, embedding, tokens)
        for stage in self.output_blocks:
            x = stage(torch.cat([x, kept.pop()], dim=1), embedding, tokens)
        return self.out(x)
