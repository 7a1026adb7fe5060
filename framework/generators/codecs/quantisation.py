"""Residual vector quantisation: each codebook codes what those before it left (SoundStream: Zeghidour et al., 2021)."""

import math
from collections.abc import Iterable, Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import mse_loss, normalize

from framework.annotations import Decay, NonNegativeFloat, PositiveInt
from framework.checks import checked
from framework.inference.layers import normed_conv

SMOOTHING = 1e-5
"""Laplace smoothing of the sizes of clusters."""
KMEANS_STEPS = 50


class Quantised(NamedTuple):
    """What a quantiser makes of latents.

    Args:
        latent: The nearest vectors `(batch, channels, frames)`; gradients pass straight through.
        codes: Their numbers, int64 `(batch, frames)` of one book, `(batch, books, frames)` of several.
        commitment: Squared distance that moves latents to codes, `(batch,)`, or a clip's mean for each book.
        codebook: Squared distance that moves codes to latents, of the same shape; zeros where averages move them.
    """

    latent: Tensor
    codes: Tensor
    commitment: Tensor
    codebook: Tensor


class EMACodebook(nn.Module):
    """Codebook whose vectors are moving averages of the latents that fall to them (EnCodec, section 3.2).

    It starts at the centres that k-means finds in the first batch, or part of one. Codes that are hardly used are
    replaced by vectors of the batch. What it sees in training, where a gradient is wanted, is what `learn` updates it
    by; devices share all they see.

    Args:
        channels: Number of channels of the latents.
        size: Codes.
        decay: The decay of the moving averages.
        dead_code_threshold: Codes that fewer vectors of a batch fall to, on average, are given to one of the batch.
    """

    passes_residual: ClassVar[bool] = False
    """Whether the next book's gradient goes through this one's vector."""
    inited: Tensor
    cluster_size: Tensor
    embed: Tensor
    embed_avg: Tensor

    @checked
    def __init__(
        self, channels: PositiveInt, size: PositiveInt, decay: Decay = 0.99, dead_code_threshold: NonNegativeFloat = 2.0
    ) -> None:
        super().__init__()
        self.size, self.decay, self.dead_code_threshold = size, decay, dead_code_threshold
        self.seen: list[tuple[Tensor, Tensor]] = []
        self.register_buffer("inited", torch.zeros(1))
        self.register_buffer("cluster_size", torch.zeros(size))
        self.register_buffer("embed", torch.zeros(size, channels))
        self.register_buffer("embed_avg", torch.zeros(size, channels))

    def forward(self, latent: Tensor) -> Quantised:
        """Quantise latents `(batch, channels, frames)` with one book."""
        latent = latent.float()
        vectors = latent.transpose(1, 2)
        learning = self.training and torch.is_grad_enabled()
        if learning and not self.inited and (first := gathered(vectors.detach().flatten(0, 1))).isfinite().all():
            self.start(first)
        codes = self.nearest(vectors)
        found = self.decode(codes)
        commitment = mse_loss(latent, found, reduction="none").mean((1, 2))
        if learning:
            self.seen.append((vectors.detach().flatten(0, 1), codes.flatten()))
        found = straight_through(latent, found) if self.training else found
        return Quantised(found, codes, commitment, torch.zeros_like(commitment))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Return the codes `(...)` nearest to vectors `(..., channels)`."""
        return closest(vectors, self.embed)

    def decode(self, codes: Tensor) -> Tensor:
        """Return the vectors `(batch, channels, frames)` of codes `(batch, frames)`."""
        return self.embed[codes].transpose(1, 2)

    @torch.no_grad()
    def start(self, vectors: Tensor) -> None:
        """Put the codes at the centres that k-means finds among vectors `(n, channels)`."""
        self.embed.copy_(drawn(vectors, self.size))
        for _ in range(KMEANS_STEPS):
            sums, counts = self.sums(vectors, self.nearest(vectors))
            self.embed.copy_(torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], self.embed))
        # The official code takes the centres for the sums, which shrinks the vectors by their numbers at first.
        self.embed_avg.copy_(self.embed * counts[:, None])
        self.cluster_size.copy_(counts)
        self.inited.fill_(1)
        shared(self.buffers())

    @torch.no_grad()
    def learn(self) -> None:
        """Move the codes towards the vectors that fell to them since the last time, unless some are not finite."""
        if not self.seen:
            return
        vectors, codes = (gathered(torch.cat(parts)) for parts in zip(*self.seen, strict=True))
        self.seen.clear()
        if not vectors.isfinite().all():
            return
        sums, counts = self.sums(vectors, codes)
        self.cluster_size.lerp_(counts, 1 - self.decay)
        self.embed_avg.lerp_(sums, 1 - self.decay)
        dead = self.cluster_size < self.dead_code_threshold
        if dead.any():
            # The official code replaces the vectors alone, and their averages undo it in the same step.
            self.embed_avg[dead] = self.dead_code_threshold * drawn(vectors, self.size)[dead]
            self.cluster_size[dead] = self.dead_code_threshold
        total = self.cluster_size.sum()
        smoothed = (self.cluster_size + SMOOTHING) / (total + self.size * SMOOTHING) * total
        self.embed.copy_(self.embed_avg / smoothed[:, None])
        shared(self.buffers())

    def sums(self, vectors: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum `(size, channels)` and number `(size,)` of the vectors of each code."""
        sums = torch.zeros_like(self.embed).index_add_(0, codes, vectors.to(self.embed))
        return sums, torch.bincount(codes, minlength=self.size).to(self.embed)


class FactorisedCodebook(nn.Module):
    """Codebook looked up by direction in a few dimensions, learnt by gradient (DAC: Kumar et al., 2023, section 3.2).

    Args:
        channels: Number of channels of the latents.
        size: Codes.
        dimensions: Dimension of the space in which they are looked up.
    """

    passes_residual: ClassVar[bool] = True

    @checked
    def __init__(self, channels: PositiveInt, size: PositiveInt, dimensions: PositiveInt) -> None:
        super().__init__()
        self.size = size
        self.in_proj = normed_conv(channels, dimensions, 1)
        self.out_proj = normed_conv(dimensions, channels, 1)
        self.codebook = nn.Embedding(size, dimensions)

    def forward(self, latent: Tensor) -> Quantised:
        """Quantise latents `(batch, channels, frames)` with one book."""
        projected = self.in_proj(latent).float()
        codes = self.nearest(projected)
        found = self.codebook(codes).transpose(1, 2)
        commitment = mse_loss(projected, found.detach(), reduction="none").mean((1, 2))
        codebook = mse_loss(found, projected.detach(), reduction="none").mean((1, 2))
        return Quantised(self.out_proj(straight_through(projected, found)), codes, commitment, codebook)

    def nearest(self, projected: Tensor) -> Tensor:
        """Return the codes `(batch, frames)` of the directions nearest to `(batch, dimensions, frames)`."""
        return closest(normalize(projected.transpose(1, 2), dim=-1), normalize(self.codebook.weight))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the latents `(batch, channels, frames)` of codes `(batch, frames)`."""
        return self.out_proj(self.codebook(codes).transpose(1, 2))


Codebook = EMACodebook | FactorisedCodebook


class ResidualQuantiser(nn.Module):
    """Codebooks one after the other; the first of them alone are a lower bitrate.

    Args:
        books: The codebooks, all of one size.
    """

    def __init__(self, books: Sequence[Codebook]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(books)
        self.size = books[0].size

    @property
    def bits(self) -> int:
        """Bits of a code."""
        return math.ceil(math.log2(self.size))

    def forward(self, latent: Tensor, books: Tensor | int | None = None) -> Quantised:
        """Quantise latents `(batch, channels, frames)`.

        Args:
            latent: The latents.
            books: How many codebooks are used: of each clip `(batch,)` (on the CPU), or of all; None for all there are.
        """
        count = len(latent)
        used = torch.as_tensor(len(self.layers) if books is None else books).expand(count)
        total, residual = torch.zeros_like(latent), latent
        found = []
        for number, layer in enumerate(self.layers[: int(used.max())]):
            quantised = layer(residual)
            mask = (number < used).to(latent.device)
            total = total + quantised.latent * mask[:, None, None]
            passed = quantised.latent if layer.passes_residual else quantised.latent.detach()
            residual = residual - passed
            found.append((quantised.codes, (quantised.commitment * mask).mean(), (quantised.codebook * mask).mean()))
        codes, commitment, codebook = zip(*found, strict=True)
        return Quantised(total, torch.stack(codes, dim=1), torch.stack(commitment), torch.stack(codebook))

    def learn(self) -> None:
        """Let codebooks that are averages learn from what they have seen."""
        for layer in self.layers:
            if isinstance(layer, EMACodebook):
                layer.learn()

    def decode(self, codes: Tensor) -> Tensor:
        """Return the latents `(batch, channels, frames)` of codes `(batch, books, frames)`, of all books or fewer."""
        parts = zip(self.layers, codes.unbind(1), strict=False)
        return torch.stack([layer.decode(book) for layer, book in parts]).sum(0)  # type: ignore[operator]


def closest(vectors: Tensor, codes: Tensor) -> Tensor:
    """Return the numbers `(...)` of the codes `(size, channels)` closest to vectors `(..., channels)`.

    In float32 whatever the surrounding autocast, in which close codes would be the same.
    """
    with torch.autocast(vectors.device.type, enabled=False):
        distance = vectors.square().sum(-1, keepdim=True) - 2 * vectors @ codes.T + codes.square().sum(1)
        return (-distance).max(-1).indices


def straight_through(latent: Tensor, found: Tensor) -> Tensor:
    """Return what was found, with the gradient of the latent (van den Oord et al., 2017, section 3.2)."""
    return latent + (found - latent).detach()


def drawn(vectors: Tensor, count: int) -> Tensor:
    """Return so many of the vectors `(n, channels)` at random, each once if there are enough."""
    enough = len(vectors) >= count
    chosen = torch.randperm(len(vectors))[:count] if enough else torch.randint(len(vectors), (count,))
    return vectors[chosen.to(vectors.device)]


def gathered(values: Tensor) -> Tensor:
    """Return the rows of all devices, which all have as many."""
    if not distributed.is_available() or not distributed.is_initialized():
        return values
    parts = [torch.empty_like(values) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, values.contiguous())
    return torch.cat(parts)


def shared(buffers: Iterable[Tensor]) -> None:
    """Give all devices the first one's buffers: what is drawn at random differs between them."""
    if distributed.is_available() and distributed.is_initialized():
        for buffer in buffers:
            distributed.broadcast(buffer, 0)


def perplexity(counts: Tensor) -> Tensor:
    """Return e to the entropy `(...)` of counts `(..., size)`: of how many codes, equally often used, it is that of."""
    share = counts / counts.sum(-1, keepdim=True).clamp(min=1)
    return torch.special.entr(share).sum(-1).exp()
