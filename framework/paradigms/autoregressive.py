"""Autoregressive training and sampling: each sample's distribution given all samples before it."""

import math
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor
from torchaudio.functional import deemphasis, preemphasis

from framework.annotations import NonNegativeFloat, PositiveFloat, Range
from framework.data_module import data_module_of
from framework.errors import InvalidValueError
from framework.hyperparameters import runtime
from framework.losses.likelihood import Distribution
from framework.paradigms.system import Losses, System

PIECE = 2**15
"""Number of samples of a held-out clip whose distributions are computed at once."""


class Autoregressive(System):
    """Maximum-likelihood prediction of the next sample (van den Oord et al., 2016, equation 1).

    Training is teacher-forced: the network predicts each true sample from those before it, and the first from silence.
    The loss includes the first predictions of a segment, which see zeros in part of the receptive field (as in
    r9y9/wavenet_vocoder; ibab/tensorflow-wavenet excludes them).

    The monitored metric is `bits_per_sample` of held-out clips: the negative log-likelihood, in bits, of each sample's
    level among the 256 of mu-law audio, given the true samples before it. Densities (mixture of logistics, Gaussian)
    are integrated over the values that are rounded to the level, so that all distributions can be compared. Systems
    with different `pre_emphasis` or `gain` cannot be compared, because they model different signals. `perplexity` is 2
    to the power of `bits_per_sample`.

    The network is called as `network(inputs, **condition)` with the return value of `condition`. It has a
    `receptive_field` (samples), `prepare(time, **condition)`, which upsamples the condition to the sample rate, and
    `predict(inputs, *prepared)`.

    Args:
        pre_emphasis: Coefficient a of the filter 1 - a/z that is applied to the audio and inverted after sampling; 0
            for none.
        gain: Factor on the audio before the filter, to keep the filtered signal within [-1, 1].
        temperature: Sampling temperature: 1 samples the learned distribution, 0 takes its mode.
    """

    monitor = "validation/bits_per_sample"
    reconstructs_input: ClassVar[bool] = False

    learning_rate = 1e-3
    pre_emphasis: Annotated[float, Range(0, below=1)] = 0.0
    gain: PositiveFloat = 1.0
    temperature: NonNegativeFloat = runtime(1.0)

    def build(self) -> None:
        """Build the distribution and the network."""
        self.distribution = self.build_distribution()
        super().build()

    def build_distribution(self) -> Distribution:
        """Return the distribution whose parameters the network predicts."""
        raise NotImplementedError(f"{type(self).__name__} has no build_distribution()")

    def setup(self, stage: str) -> None:
        """Check that segments are at least as long as the receptive field.

        Raises:
            ValueError: the data module's `segment` is shorter than the receptive field.
        """
        super().setup(stage)
        data = data_module_of(self.trainer)
        if stage == "fit" and data is not None and data.segment < self.network.receptive_field:
            raise InvalidValueError(
                f"a segment of {data.segment} samples is shorter than the receptive field of "
                f"{self.network.receptive_field}: set --data.segment to that or more"
            )

    def signal(self, audio: Tensor) -> Tensor:
        """Return the signal that is modelled, from audio, both `(batch, 1, time)`."""
        signal = self.gain * audio.float()
        return preemphasis(signal, self.pre_emphasis).clamp(-1, 1) if self.pre_emphasis else signal

    def audio(self, signal: Tensor) -> Tensor:
        """Return the audio of a modelled signal, both `(batch, 1, time)`."""
        return ((deemphasis(signal, self.pre_emphasis) if self.pre_emphasis else signal) / self.gain).clamp(-1, 1)

    def past(self, signal: Tensor) -> Tensor:
        """Return the network's inputs: the signal `(batch, 1, time)` delayed by one sample, beginning with silence."""
        return self.distribution.inputs(torch.nn.functional.pad(signal, (1, 0))[..., :-1])

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the network's further inputs by argument name."""
        return {}

    def training_losses(self, batch: dict[str, Any]) -> Losses:
        """Return the negative log-likelihood per sample in nats."""
        signal = self.signal(batch["audio"])
        output = self.generator(self.past(signal), **self.condition(batch))
        return {"nll": self.distribution.nll(output, signal).mean()}

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return `bits_per_sample` and `perplexity` of held-out clips, exact for any length."""
        bits = self.level_nll(batch).mean() / math.log(2)
        return {"bits_per_sample": bits, "perplexity": 2**bits}

    def level_nll(self, batch: dict[str, Any], piece: int = PIECE) -> Tensor:
        """Return -ln P `(batch, time)` of the level of every sample, computed in pieces."""
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
        """Sample audio `(batch, 1, time)` of the length of the batch's, starting from silence."""
        audio = batch["audio"]
        if not audio.numel():
            return audio.float()
        uniforms = torch.rand(len(audio), self.distribution.uniforms, audio.shape[-1], device=audio.device)
        return self.audio(self.sample(uniforms, **self.condition(batch)))

    def sample(self, uniforms: Tensor, **condition: Tensor) -> Tensor:
        """Sample the signal `(batch, 1, time)` that random numbers in [0, 1) `(batch, uniforms, time)` determine."""
        raise NotImplementedError(f"{type(self).__name__} has no sample()")


def cut(part: Tensor | None, begin: int, end: int) -> Tensor | None:
    """Return these samples of a condition; None and conditions without a time axis are returned as they are."""
    return part if part is None or part.shape[-1] == 1 else part[..., begin:end]
