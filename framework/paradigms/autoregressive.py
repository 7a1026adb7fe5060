"""Autoregressive training and sampling: each sample's distribution given all samples before it."""

import math
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torchaudio.functional import deemphasis, preemphasis

from framework.annotations import NonNegativeFloat, PositiveFloat, Range
from framework.errors import InvalidValueError
from framework.hyperparameters import runtime
from framework.losses.likelihood import Distribution
from framework.paradigms.system import Losses, System

PIECE = 2**15
"""Samples of a held-out clip whose distributions are computed at once."""


class Autoregressive(System):
    """A network that predicts the next sample, by maximum likelihood (van den Oord et al., 2016, equation 1).

    Training is teacher-forced: the network is given silence and then the true samples, each of which it predicts from
    those before it. All predictions of a segment count, also the first, which see fewer samples than the receptive
    field and zeros before them (as in r9y9/wavenet_vocoder, where ibab/tensorflow-wavenet leaves those out).

    The monitored metric is `bits_per_sample` of held-out clips: the information, in bits, in each sample's level among 256 of mu-law
    audio given the true samples before it. A density (mixture of logistics, Gaussian) is integrated over the range of
    values that rounds to the level. Distributions can so be compared; systems whose `pre_emphasis` or `gain` differ
    cannot, as they describe other signals. `perplexity` is 2 to the bits of a clip: of how many equally likely levels
    it would have been the guess.

    The network is called as `network(inputs, **condition)`, with what `condition` returns of a batch. It has
    `receptive_field` (samples), `prepare(time, **condition)`, which brings the condition to the sample rate, and
    `predict(inputs, *prepared)`.

    Args:
        pre_emphasis: Coefficient a of the filter 1 - a/z on the audio before it is modelled, undone behind; 0 for none.
        gain: Factor on the audio before the filter, to keep what comes out of it within [-1, 1].
        temperature: Of sampling: 1 draws from the distribution learned, 0 takes the likeliest.
    """

    monitor = "validation/bits_per_sample"
    reconstructs_input: ClassVar[bool] = False

    learning_rate = 1e-3
    pre_emphasis: Annotated[float, Range(0, below=1)] = 0.0
    gain: PositiveFloat = 1.0
    temperature: NonNegativeFloat = runtime(1.0)

    def build(self) -> None:
        """Make the distribution and the network."""
        self.distribution = self.build_distribution()
        super().build()

    def build_distribution(self) -> Distribution:
        """Return the distribution whose parameters the network gives."""
        raise NotImplementedError(f"{type(self).__name__} has no build_distribution()")

    def setup(self, stage: str) -> None:
        """Refuse segments in which no prediction would see the whole receptive field.

        Raises:
            ValueError: the data module's `segment` is shorter than the receptive field.
        """
        super().setup(stage)
        segment = getattr(self.trainer.datamodule, "segment", None)  # type: ignore[attr-defined]
        if stage == "fit" and segment is not None and segment < self.network.receptive_field:
            raise InvalidValueError(
                f"a segment of {segment} samples is shorter than the receptive field of "
                f"{self.network.receptive_field}: set --data.segment to that or more"
            )

    def signal(self, audio: Tensor) -> Tensor:
        """Return what is modelled of audio, both `(batch, 1, time)`."""
        signal = self.gain * audio.float()
        return preemphasis(signal, self.pre_emphasis).clamp(-1, 1) if self.pre_emphasis else signal

    def audio(self, signal: Tensor) -> Tensor:
        """Return the audio of a modelled signal, both `(batch, 1, time)`."""
        return ((deemphasis(signal, self.pre_emphasis) if self.pre_emphasis else signal) / self.gain).clamp(-1, 1)

    def past(self, signal: Tensor) -> Tensor:
        """Return the network's inputs: the signal `(batch, 1, time)` one sample late, silence first."""
        return self.distribution.inputs(torch.nn.functional.pad(signal, (1, 0))[..., :-1])

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return what the network is given beside the past, by its argument's name."""
        return {}

    def training_losses(self, batch: dict[str, Any]) -> Losses:
        """Return the negative log-likelihood per sample in nats."""
        signal = self.signal(batch["audio"])
        output = self.generator(self.past(signal), **self.condition(batch))
        return {"nll": self.distribution.nll(output, signal).mean()}

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return `bits_per_sample` and `perplexity` of held-out clips; exact, however long they are."""
        bits = self.level_nll(batch).mean() / math.log(2)
        return {"bits_per_sample": bits, "perplexity": 2**bits}

    def level_nll(self, batch: dict[str, Any], piece: int = PIECE) -> Tensor:
        """Return -ln P `(batch, time)` of the level of every sample, computed in pieces with the past each needs."""
        network, signal = self.network, self.signal(batch["audio"])
        past = self.past(signal)
        prepared = network.prepare(signal.shape[-1], **self.condition(batch))
        pieces = []
        for start in range(0, signal.shape[-1], piece):
            begin, end = max(start - network.receptive_field + 1, 0), start + piece
            output = network.predict(past[..., begin:end], *(cut(part, begin, end) for part in prepared))
            pieces.append(self.distribution.level_nll(output[..., start - begin :], signal[..., start:end]))
        return torch.cat(pieces, dim=-1)

    @torch.no_grad()
    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Sample audio `(batch, 1, time)` as long as the batch's, from silence on."""
        audio = batch["audio"]
        if not audio.numel():
            return audio.float()
        uniforms = torch.rand(len(audio), self.distribution.uniforms, audio.shape[-1], device=audio.device)
        return self.audio(self.sample(uniforms, **self.condition(batch)))

    def sample(self, uniforms: Tensor, **condition: Tensor) -> Tensor:
        """Sample the signal `(batch, 1, time)` that random numbers in [0, 1) `(batch, uniforms, time)` determine."""
        raise NotImplementedError(f"{type(self).__name__} has no sample()")


def cut(part: Tensor | None, begin: int, end: int) -> Tensor | None:
    """Return these samples of a condition; what holds for all of them, and None, stay."""
    return part if part is None or part.shape[-1] == 1 else part[..., begin:end]
