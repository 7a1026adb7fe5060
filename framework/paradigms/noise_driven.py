"""Unconditional and class-conditional GANs."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from framework.annotations import NonNegativeInt, PositiveInt
from framework.data_module import DataModule, FromData, data_module_of
from framework.discriminators.base import DiscriminatorOutput
from framework.errors import InvalidValueError
from framework.hyperparameters import runtime
from framework.paradigms.adversarial import Adversarial
from framework.paradigms.labels import classes_from_data, labels_of
from framework.paradigms.system import Losses

SAMPLES = 4
"""Samples of the energy score for each held-out clip."""


class NoiseDriven(Adversarial):
    """A generator `network(noise (batch, latent_dim + labels)) -> examples` (Goodfellow et al., 2014).

    A conditional generator receives the one-hot label concatenated to the noise (Mirza & Osindero, 2014).
    Discriminators with a `label` layer are called as `discriminator(examples, one-hot labels)`, others with the
    examples alone.

    The monitored metric is `energy_score` (Gneiting & Raftery, 2007, equation 22): E|X - x| - E|X - X'| / 2 of
    generated X, X' and a held-out x of the same label, in root mean square differences of log-mels (nepers). It is
    minimal if generated and held-out examples have the same distribution.

    Args:
        latent_dim: Dimension of the noise.
        label: Key in the batch of the label to condition on, such as `instrument`; empty for none.
        num_classes: Number of classes of the label.
        synthesized_label: Label of audio that is generated without a recording.
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

    @classmethod
    def values_from_data(cls, data: DataModule, values: Mapping[str, Any]) -> dict[str, FromData]:
        """Return the number of classes of the label."""
        return super().values_from_data(data, values) | classes_from_data(data, values)

    def build(self) -> None:
        """Build the networks.

        Raises:
            ValueError: `label` is set and `num_classes` is not.
        """
        if self.label and self.num_classes < 1:
            raise InvalidValueError(
                f"model.label is {self.label!r} and the number of its classes is not known: set --model.num_classes"
            )
        super().build()

    @property
    def length(self) -> int:
        """Length of an example in samples; segments of the data must have it."""
        raise NotImplementedError(f"{type(self).__name__} does not say how long its examples are")

    @property
    def inputs(self) -> int:
        """Dimension of the generator's input: noise and label."""
        return self.latent_dim + self.known_labels

    @property
    def known_labels(self) -> int:
        """Number of classes that the networks are conditioned on; 0 for none."""
        return self.num_classes if self.label else 0

    def setup(self, stage: str) -> None:
        """Check that the data's segments have the length of the generated examples.

        Raises:
            ValueError: they have not; the message names the length.
        """
        super().setup(stage)
        data = data_module_of(self.trainer)
        if data is not None and data.segment != self.length:
            raise InvalidValueError(
                f"{type(self).__name__} makes {self.length} samples, a segment has {data.segment}: "
                f"set --data.segment {self.length}"
            )

    def noise(self, count: int) -> Tensor:
        """Draw noise `(count, latent_dim)`, uniform in [-1, 1]."""
        return 2 * torch.rand(count, self.latent_dim, device=self.device) - 1

    def condition(self, batch: dict[str, Any]) -> Tensor:
        """Draw noise and concatenate the one-hot label: `(batch, latent_dim + labels)`."""
        noise = self.noise(len(batch["key"]))
        return torch.cat([noise, self.one_hot(batch)], 1) if self.label else noise

    def one_hot(self, batch: dict[str, Any]) -> Tensor:
        """Return the batch's labels as one-hot `(batch, labels)`.

        Raises:
            ValueError: the batch has no labels, or one outside the classes.
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
