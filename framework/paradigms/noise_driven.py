"""Adversarial generation from noise: a generator that is told nothing, or a label, and no recording to copy."""

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from framework.annotations import NonNegativeInt, PositiveInt
from framework.discriminators.base import DiscriminatorOutput
from framework.errors import InvalidValueError
from framework.hyperparameters import runtime
from framework.paradigms.adversarial import Adversarial
from framework.paradigms.labels import labels_of
from framework.paradigms.system import Losses

SAMPLES = 4
"""Of the energy score, for each held-out clip."""


class NoiseDriven(Adversarial):
    """A generator `network(noise (batch, latent_dim + labels)) -> examples` (Goodfellow et al., 2014).

    A conditional one is given the label beside the noise, as one-hot (Mirza & Osindero, 2014). So are those of its
    discriminators that have a `label` layer, called as `discriminator(examples, one-hot labels)`; others from the shelf
    receive the examples alone.

    The monitored metric is `energy_score` (Gneiting & Raftery, 2007, equation 22): E|X - x| - E|X - X'| / 2 of generated X, X' and a
    held-out x of the same label, in root mean square differences of log-mels (nepers). It is least where what is
    generated is distributed as what is held out: neither one good example again and again nor variety without likeness
    will do.

    Args:
        latent_dim: Dimensions of the noise.
        label: Name in the batch of the label that conditions, as `instrument`; empty for none.
        num_classes: Number of classes of the label.
        synthesized_label: The label of what is generated without a recording.
    """

    reconstructs_input: ClassVar[bool] = False
    monitor: ClassVar[str] = "validation/energy_score"

    weight_decay = 0.0
    learning_rate_decay = 1.0
    feature_matching_weight = 0.0
    latent_dim: PositiveInt = 100
    label: str = ""
    num_classes: NonNegativeInt = 0
    synthesized_label: NonNegativeInt = runtime(0)

    def build(self) -> None:
        """Make the networks.

        Raises:
            ValueError: a label without a number of labels.
        """
        if self.label and self.num_classes < 1:
            raise InvalidValueError(f"how many of the label {self.label!r} are there? set --model.num_classes")
        super().build()

    @property
    def length(self) -> int:
        """Samples of an example, which a segment of the data must have."""
        raise NotImplementedError(f"{type(self).__name__} does not say how long its examples are")

    @property
    def inputs(self) -> int:
        """Dimensions of what the generator is given: the noise, and the label."""
        return self.latent_dim + self.known_labels

    @property
    def known_labels(self) -> int:
        """How many labels the networks are told; 0 where they are told none."""
        return self.num_classes if self.label else 0

    def setup(self, stage: str) -> None:
        """Refuse segments that are not as long as what is generated.

        Raises:
            ValueError: naming the length that is.
        """
        super().setup(stage)
        segment = getattr(self.trainer.datamodule, "segment", self.length)  # type: ignore[attr-defined]
        if segment != self.length:
            raise InvalidValueError(
                f"{type(self).__name__} makes {self.length} samples, a segment has {segment}: "
                f"set --data.segment {self.length}"
            )

    def noise(self, count: int) -> Tensor:
        """Draw noise `(count, latent_dim)`, uniform in [-1, 1]."""
        return 2 * torch.rand(count, self.latent_dim, device=self.device) - 1

    def condition(self, batch: dict[str, Any]) -> Tensor:
        """Draw noise, and put the one-hot label beside it: `(batch, latent_dim + labels)`."""
        noise = self.noise(len(batch["key"]))
        return torch.cat([noise, self.one_hot(batch)], 1) if self.label else noise

    def one_hot(self, batch: dict[str, Any]) -> Tensor:
        """Return the batch's labels as one-hot `(batch, labels)`.

        Raises:
            ValueError: the batch has none, or one that the networks do not have.
        """
        return one_hot(labels_of(batch, self.label, self.num_classes), self.num_classes).to(self.device, torch.float32)

    def discriminate(self, name: str, example: Tensor, batch: dict[str, Any]) -> DiscriminatorOutput:
        """Run one discriminator; one with a `label` layer also receives the one-hot labels."""
        if getattr(self.discriminators[name], "label", None) is None:
            return super().discriminate(name, example, batch)
        return self.discriminators[name](example, self.one_hot(batch))

    def batch_from_audio(self, audio: Tensor) -> dict[str, Any]:
        """Return a recording `(1, 1, time)` as a batch, with the label `synthesized_label`."""
        label = {self.label: torch.tensor([self.synthesized_label], device=audio.device)} if self.label else {}
        return super().batch_from_audio(audio) | {"key": [""]} | label

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return the energy score of a held-out clip."""
        several = {n: v.expand(SAMPLES, *v.shape[1:]) for n, v in batch.items() if isinstance(v, Tensor)}
        made = self.synthesize(several | {"key": batch["key"] * SAMPLES})
        real = self.reference(batch)[..., : made.shape[-1]]
        mels = self.front_end(torch.cat([real, made[..., : real.shape[-1]]])).flatten(1)
        neper = self.preset.scale / (1.0 if self.preset.log == "e" else math.log(10))
        distances = torch.cdist(mels, mels) / mels.shape[1] ** 0.5 / neper
        among = distances[1:, 1:].sum() / (SAMPLES * (SAMPLES - 1))
        return {"energy_score": distances[0, 1:].mean() - among / 2}
