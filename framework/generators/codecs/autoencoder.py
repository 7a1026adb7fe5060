"""What autoencoders of audio share: an encoder, a bottleneck, a decoder, and training against discriminators."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from framework.generators.codecs.streaming import stream
from framework.inference.incremental import incremental, run
from framework.paradigms.adversarial import Adversarial
from framework.paradigms.system import Losses


class AutoencoderNetwork(nn.Module):
    """Encoder and decoder of audio, whose frames stand for `samples_per_frame` samples each.

    Codes are what is stored of a frame: continuous `(batch, channels, frames)` or numbers `(batch, books, frames)`.
    """

    discrete: bool
    """Whether codes are numbers."""
    encoder: nn.Module
    decoder: nn.Module
    samples_per_frame: int

    def encoder_layers(self) -> nn.Sequential:
        """Return the encoder's layers."""
        raise NotImplementedError(f"{type(self).__name__} has no encoder_layers()")

    def decoder_layers(self) -> nn.Sequential:
        """Return the decoder's layers."""
        raise NotImplementedError(f"{type(self).__name__} has no decoder_layers()")

    def padded(self, audio: Tensor) -> Tensor:
        """Return audio `(batch, 1, time)` with silence behind it, to whole frames."""
        return pad(audio, (0, -audio.shape[-1] % self.samples_per_frame))

    def quantise(self, latent: Tensor) -> Tensor:
        """Return the codes of what the encoder made."""
        raise NotImplementedError(f"{type(self).__name__} has no quantise()")

    def dequantise(self, codes: Tensor) -> Tensor:
        """Return what the decoder takes for codes."""
        return codes

    def encode(self, audio: Tensor) -> Tensor:
        """Return the codes `(batch, ..., frames)` of audio `(batch, 1, time)`."""
        return self.quantise(self.encoder(self.padded(audio)))

    def decode(self, codes: Tensor) -> Tensor:
        """Return the audio `(batch, 1, frames * samples_per_frame)` of codes."""
        return self.decoder(self.dequantise(codes))

    def stream_encode(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the codes of audio that comes in pieces `(batch, 1, time)`, of whole frames but for the last."""
        return map(self.quantise, stream(self.encoder_layers(), map(self.padded, pieces)))

    def stream_decode(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the audio `(batch, 1, time)` of codes that come in pieces."""
        latents, layers = map(self.dequantise, pieces), self.decoder_layers()
        try:
            return run(incremental(layers), latents)
        except TypeError:
            # Layers that do not say how: each piece is computed with what is around it.
            return stream(layers, latents)


class Autoencoder(Adversarial):
    """An autoencoder of audio, trained by reconstruction losses and discriminators.

    The network returns, of audio, the audio again and what its bottleneck wants minimised besides.
    """

    def build(self) -> None:
        """Make the networks."""
        # Of the run that the weights were released of: folded they have another hash, and understand the same codes.
        self.released_as = ""
        super().build()

    def further_state(self) -> dict[str, Any]:
        """Return the fingerprint of the released weights."""
        return super().further_state() | {"released_as": self.released_as}

    def condition(self, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, time)`, which is all that the network is given."""
        return batch["audio"]

    def pad_to_hop(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return the batch: the network takes any length."""
        return batch

    def produce(self, batch: dict[str, Any]) -> tuple[Tensor, Losses]:
        """Return the audio again, and the bottleneck's loss terms."""
        raise NotImplementedError(f"{type(self).__name__} has no produce()")

    def fingerprint(self) -> str:
        """Return a hash of the network's weights: only it understands its codes."""
        if self.released_as:
            return self.released_as
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    @torch.no_grad()
    def encode(self, audio: Tensor) -> Tensor:
        """Return the codes of audio `(batch, 1, time)`."""
        return self.network.encode(audio)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Return the audio `(batch, 1, time)` of codes."""
        return self.network.decode(codes)

    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Return the audio again, after having been coded."""
        audio = self.condition(batch)
        return self.decode(self.encode(audio))[..., : audio.shape[-1]]
