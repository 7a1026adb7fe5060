"""What codecs share: audio to codes of a few codebooks and back, at any of several bitrates."""

from typing import Any

import torch
from torch import Tensor

from framework.annotations import Depth, NonNegativeFloat, PositiveInt, UnitInterval
from framework.errors import InvalidValueError, OstinatoError
from framework.generators.codecs.autoencoder import Autoencoder, AutoencoderNetwork
from framework.generators.codecs.quantisation import Quantised, ResidualQuantiser, perplexity
from framework.hyperparameters import runtime
from framework.paradigms.system import Losses


class BitrateError(OstinatoError, ValueError):
    """A bitrate that a codec does not have; the message names those it has."""


class CodecNetwork(AutoencoderNetwork):
    """Encoder, codebooks and decoder: audio `(batch, 1, time)` -> the same audio, and what was quantised.

    Args:
        quantiser: The codebooks.
        samples_per_frame: Samples that one frame of codes stands for.
    """

    discrete = True

    def __init__(self, quantiser: ResidualQuantiser, samples_per_frame: int) -> None:
        super().__init__()
        self.quantiser = quantiser
        self.samples_per_frame = samples_per_frame
        self.n_codebooks = len(quantiser.layers)

    def forward(self, audio: Tensor, books: Tensor | None = None) -> tuple[Tensor, Quantised]:
        """Return audio again, coded by so many codebooks `(batch,)` of each clip, all if not said; and its codes."""
        quantised = self.quantiser(self.encoder(self.padded(audio)), books)
        return self.decoder(quantised.latent)[..., : audio.shape[-1]], quantised

    def quantise(self, latent: Tensor) -> Tensor:
        """Return the codes `(batch, books, frames)` of the first `self.n_codebooks` codebooks."""
        return self.quantiser(latent, self.n_codebooks).codes

    def dequantise(self, codes: Tensor) -> Tensor:
        """Return the latents `(batch, channels, frames)` of codes `(batch, books, frames)`."""
        return self.quantiser.decode(codes)


class Codec(Autoencoder):
    """A neural audio codec: residual vector quantisation between encoder and decoder.

    `validation/codebook_perplexity` and `validation/codebook_use` say how many of a codebook's codes the held-out clips
    use, the former counting them as often as they are used; the means over the codebooks.

    Args:
        n_codebooks: Number of codebooks; the bitrate is that of as many as are used.
        codebook_size: Codes of each.
        commitment_weight: Weight of the distance that moves latents to codes.
        quantiser_dropout: Share of the training clips of which only a random number of codebooks is used, so that the
            first ones alone are a codec of a lower bitrate.
        bitrate: Kilobits a second of what is coded from then on; 0 uses all codebooks.
    """

    n_codebooks: Depth
    codebook_size: PositiveInt = 1024
    commitment_weight: NonNegativeFloat = 0.25
    quantiser_dropout: UnitInterval = 0.5
    bitrate: NonNegativeFloat = runtime(0.0)

    def build(self) -> None:
        """Make the networks and choose the bitrate.

        Raises:
            BitrateError: the codec has not got it.
            ValueError: fewer than one codebook, or than two codes.
        """
        if self.n_codebooks < 1 or self.codebook_size < 2:
            raise InvalidValueError(
                f"{self.n_codebooks} codebooks of {self.codebook_size}: at least one, of two codes, is needed"
            )
        super().build()
        books = self.books_of(self.bitrate)
        for network in (self.generator, self.network):
            network.n_codebooks = books
        self.uses = torch.zeros(self.n_codebooks, self.codebook_size)

    @property
    def book_rate(self) -> float:
        """Kilobits a second of one codebook."""
        network = self.network
        return self.preset.sample_rate / network.samples_per_frame * network.quantiser.bits / 1000

    def books_of(self, bitrate: float) -> int:
        """Return how many codebooks have a bitrate (kilobits a second) to within two percent; all have 0.

        Raises:
            BitrateError: none have.
        """
        if not bitrate:
            return self.n_codebooks
        books = round(bitrate / self.book_rate)
        if not 1 <= books <= self.n_codebooks or abs(books * self.book_rate - bitrate) > 0.02 * bitrate:
            available = ", ".join(f"{n * self.book_rate:.3g}" for n in range(1, self.n_codebooks + 1))
            raise BitrateError(f"no bitrate of {bitrate:g} kbit/s: {type(self).__name__} has {available}")
        return books

    def produce(self, batch: dict[str, Any]) -> tuple[Tensor, Losses]:
        """Return the audio again, and the distances of latents and codes."""
        audio, quantised = self.generator(self.condition(batch), self.draw_books(len(batch["audio"])))
        return audio, self.code_losses(quantised)

    def code_losses(self, quantised: Quantised) -> Losses:
        """Return the loss terms of codes and latents."""
        return {"commitment": quantised.commitment.sum()}

    def draw_books(self, clips: int) -> Tensor:
        """Return how many codebooks are used of each training clip `(clips,)`: of the first ones a random number."""
        books = torch.full((clips,), self.n_codebooks)
        share = clips * self.quantiser_dropout
        # Where no clip may have all, devices and parts of a batch draw alike: what averages see is gathered from all.
        alike = torch.Generator().manual_seed(self.global_step) if share > clips - 1 else None
        dropped = int(share)
        if share > dropped:
            # So that small batches have their share too.
            dropped += int(torch.rand((), generator=alike) < share - dropped)
        books[:dropped] = torch.randint(1, self.n_codebooks + 1, (dropped,), generator=alike)
        return books

    def step_optimizer(self, name: str, network: Any) -> None:
        """Let the codebooks learn from the whole batch, then take the optimiser's step."""
        if name == "generator":
            network.get_submodule("quantiser").learn()
        super().step_optimizer(name, network)

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return the share of the codes that a clip does not use, in the mean over the codebooks."""
        uses = self.count(self.encode(self.condition(batch)))
        self.uses[: len(uses)] += uses.cpu()
        return {"unused_codes": (uses == 0).float().mean()}

    def count(self, codes: Tensor) -> Tensor:
        """Return how often each code `(batch, books, frames)` is used: `(books, size)`."""
        books = codes.transpose(0, 1).flatten(1)
        return torch.stack([torch.bincount(book, minlength=self.codebook_size) for book in books]).float()

    def on_validation_epoch_start(self) -> None:
        """Count codes anew."""
        self.uses.zero_()

    def on_test_epoch_start(self) -> None:
        """Count codes anew."""
        self.uses.zero_()

    def on_validation_epoch_end(self) -> None:
        """Log how the codebooks are used over all held-out clips."""
        self.log_codebooks("validation")

    def on_test_epoch_end(self) -> None:
        """Log how the codebooks are used over all test clips."""
        self.log_codebooks("test")

    def log_codebooks(self, stage: str) -> None:
        """Log perplexity and use of the codebooks, in the means over those that were used at all."""
        used = self.uses[self.uses.sum(1) > 0]
        if len(used):
            self.log(f"{stage}/codebook_perplexity", perplexity(used).mean())
            self.log(f"{stage}/codebook_use", (used > 0).float().mean())
