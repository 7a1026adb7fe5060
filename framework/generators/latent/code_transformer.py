"""A causal transformer over frames of codes, one token of each codebook at a step (MusicGen: Copet et al., 2023)."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from framework.annotations import NonNegativeInt, PositiveInt
from framework.audio.pitch_grid import MIDI_NUMBERS
from framework.checks import check_divisible, checked
from framework.errors import InvalidValueError


class Cache:
    """Keys and values of the steps so far, of each layer.

    Args:
        layers: Layers of the transformer.
    """

    def __init__(self, layers: int) -> None:
        self.steps = 0
        self.kept: list[tuple[Tensor, Tensor] | None] = [None] * layers

    def extended(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return a layer's keys and values `(batch, heads, steps, width)` with new ones behind those before."""
        before = self.kept[layer]
        if before is not None:
            keys, values = torch.cat([before[0], keys], dim=2), torch.cat([before[1], values], dim=2)
        self.kept[layer] = keys, values
        return keys, values


class TransformerLayer(nn.Module):
    """Attention to the past and two layers over channels, each on normalised inputs and beside an identity."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.to_query_key_value = nn.Linear(channels, 3 * channels, bias=False)
        self.to_output = nn.Linear(channels, channels, bias=False)
        self.linear1 = nn.Linear(channels, 4 * channels, bias=False)
        self.linear2 = nn.Linear(4 * channels, channels, bias=False)

    def forward(self, hidden: Tensor, number: int, cache: Cache | None) -> Tensor:
        """Transform `(batch, steps, channels)`, which follow those in the cache."""
        batch, steps, channels = hidden.shape
        projected = self.to_query_key_value(self.norm1(hidden)).view(batch, steps, 3, self.heads, -1)
        query, keys, values = projected.permute(2, 0, 3, 1, 4)
        if cache is not None:
            keys, values = cache.extended(number, keys, values)
        seen = torch.ones(steps, keys.shape[2], dtype=torch.bool, device=hidden.device)
        mask = seen.tril(keys.shape[2] - steps)
        attended = scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        hidden = hidden + self.to_output(attended.transpose(1, 2).reshape(batch, steps, channels))
        return hidden + self.linear2(gelu(self.linear1(self.norm2(hidden))))


class CodeTransformer(nn.Module):
    """Logits of the next tokens: tokens `(batch, books, steps)` -> `(batch, books, size, steps)`.

    The token `size` stands for none: before the first step, and where the delay pattern has nothing yet.

    Args:
        books: Codebooks.
        size: Codes of each.
        channels: Width.
        layers: Layers.
        heads: Number of heads of the attention.
        context: Most steps that are seen.
        num_classes: Number of classes of a class-conditional model; 0 for none.
        scored: Whether each step is given the notes that sound in it.
    """

    positions: Tensor

    @checked
    def __init__(
        self,
        books: PositiveInt,
        size: PositiveInt,
        channels: PositiveInt,
        layers: PositiveInt,
        heads: PositiveInt,
        context: PositiveInt,
        num_classes: NonNegativeInt = 0,
        scored: bool = False,
    ) -> None:
        super().__init__()
        check_divisible(channels=(channels, 2 * heads))
        self.n_codebooks, self.size, self.context = books, size, context
        self.embeddings = nn.ModuleList(nn.Embedding(size + 1, channels) for _ in range(books))
        self.label_embedding = nn.Embedding(num_classes, channels) if num_classes else None
        self.note_embedding = nn.Linear(MIDI_NUMBERS, channels, bias=False) if scored else None
        self.layers = nn.ModuleList(TransformerLayer(channels, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.heads = nn.ModuleList(nn.Linear(channels, size, bias=False) for _ in range(books))
        self.register_buffer("positions", sinusoids(context, channels), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02 if isinstance(module, nn.Linear) else channels**-0.5)

    def forward(
        self,
        tokens: Tensor,
        labels: Tensor | None = None,
        score: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Return the logits behind each step; with a cache, of steps that follow those in it, which it takes up.

        Args:
            tokens: Tokens `(batch, books, steps)`.
            labels: Labels `(batch,)`, of a class-conditional model.
            score: What sounds in the steps whose logits are wanted `(batch, 128, steps)`, of a model with a score.
            cache: The steps before.

        Raises:
            ValueError: more steps than the context has.
        """
        begun = cache.steps if cache is not None else 0
        end = begun + tokens.shape[-1]
        if end > self.context:
            raise InvalidValueError(f"{end} steps are more than the context of {self.context}")
        embedded = torch.stack([embed(book) for embed, book in zip(self.embeddings, tokens.unbind(1), strict=True)])
        hidden = embedded.sum(0) + self.positions[begun:end]
        if self.label_embedding is not None and labels is not None:
            hidden = hidden + self.label_embedding(labels).unsqueeze(1)
        if self.note_embedding is not None and score is not None:
            hidden = hidden + self.note_embedding(score.transpose(1, 2))
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden, number, cache)
        if cache is not None:
            cache.steps = end
        hidden = self.norm(hidden)
        return torch.stack([head(hidden) for head in self.heads], dim=1).transpose(2, 3)


def sinusoids(steps: int, channels: int) -> Tensor:
    """Return sines and cosines `(steps, channels)` of the positions (Vaswani et al., 2017, section 3.5)."""
    rates = torch.exp(-math.log(10_000) * torch.arange(0, channels, 2) / channels)
    angles = torch.arange(steps).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1) * channels**-0.5


def delayed(codes: Tensor, none: int) -> Tensor:
    """Return codes `(batch, books, frames)` with each book a step later than the one before, `none` in the gaps.

    A book is so predicted from the lower ones of the same frame (the delay pattern, section 2.1): `(batch, books,
    frames + books - 1)`.
    """
    batch, books, frames = codes.shape
    tokens = codes.new_full((batch, books, frames + books - 1), none)
    for book in range(books):
        tokens[:, book, book : book + frames] = codes[:, book]
    return tokens


def undelayed(tokens: Tensor) -> Tensor:
    """Return the codes `(batch, books, frames)` of delayed tokens."""
    books, frames = tokens.shape[1], tokens.shape[-1] - tokens.shape[1] + 1
    return torch.stack([tokens[:, book, book : book + frames] for book in range(books)], dim=1)


def chosen(logits: Tensor, temperature: float, top_k: int, top_p: float) -> Tensor:
    """Draw tokens `(...)` from logits `(..., size)`.

    The restrictions apply one after the other, as in Hugging Face's transformers: temperature, `top_k`, then `top_p` on
    the probabilities of the remaining tokens, scaled to a sum of one.

    Args:
        logits: The logits.
        temperature: 1 draws as learnt, 0 takes the likeliest.
        top_k: Only the likeliest so many are drawn from; 0 for all.
        top_p: Only the fewest of the likeliest that together have at least this probability (Holtzman et al., 2020); 1
            for all.
    """
    if not temperature:
        return logits.argmax(-1)
    ordered, tokens = logits.float().sort(-1, descending=True)
    if top_k:
        ordered[..., top_k:] = -torch.inf
    probabilities = ((ordered - ordered[..., :1]) / max(temperature, torch.finfo(torch.float).tiny)).softmax(-1)
    if top_p < 1:
        before = probabilities.cumsum(-1) - probabilities
        probabilities[..., 1:][before[..., 1:] >= top_p] = 0
    place = torch.multinomial(probabilities.flatten(0, -2), 1).view(*probabilities.shape[:-1], 1)
    return tokens.gather(-1, place).squeeze(-1)
