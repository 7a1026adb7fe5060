"""Classification of clips, for metrics over the classifier's embeddings and predictions."""

import itertools
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from framework.annotations import NonNegativeFloat, PositiveFloat, Range
from framework.paradigms.system import Losses, System


class ClipClassifier(nn.Module):
    """Convolutions over a log-mel, average pooling, and a linear layer to class logits.

    Args:
        num_classes: Number of classes.
        channels: Width of the first convolution; the second and third each double it.
    """

    def __init__(self, num_classes: int, channels: int = 16) -> None:
        super().__init__()
        widths = (1, channels, 2 * channels, 4 * channels, 4 * channels)
        self.convs = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(i, o, 3, stride=2, padding=1), nn.BatchNorm2d(o), nn.ReLU())
                for i, o in itertools.pairwise(widths)
            )
        )
        self.output = nn.Linear(widths[-1], num_classes)

    def embed(self, log_mel: Tensor) -> Tensor:
        """Return the embeddings `(batch, 4 channels)` of log-mels `(batch, mels, frames)`, the last layer's input."""
        return self.convs(log_mel.unsqueeze(1)).mean((2, 3))

    def forward(self, log_mel: Tensor) -> Tensor:
        """Return the logits `(batch, classes)` of log-mels `(batch, mels, frames)`."""
        return self.output(self.embed(log_mel))


class Classification(System):
    """A classifier `network(log-mels) -> logits`. Its `synthesize` returns its input.

    The monitored metric is `validation/error`, the misclassification rate on held-out clips.

    Args:
        label: Key in the batch of the class, such as `instrument`.
        num_classes: Number of classes.
        mean: Mean that is subtracted from the log-mel.
        std: Standard deviation by which the log-mel is divided.
        noise: Maximum standard deviation of the noise that is added in training, drawn for each clip, because generated
            audio may have artefacts that the training data lack.
    """

    reconstructs_input: ClassVar[bool] = False
    monitor: ClassVar[str] = "validation/error"

    label: str = "instrument"
    num_classes: Annotated[int, Range(2)] = 2
    mean: float = -6.0
    std: PositiveFloat = 4.0
    noise: NonNegativeFloat = 0.01

    def build_generator(self) -> ClipClassifier:
        return ClipClassifier(self.num_classes)

    def condition(self, batch: dict[str, Any]) -> Tensor:
        """Return the standardised log-mel `(batch, mels, frames)`."""
        return (self.front_end(batch["audio"]) - self.mean) / self.std

    def training_losses(self, batch: dict[str, Any]) -> Losses:
        """Return the cross-entropy of a batch, in nats."""
        audio = batch["audio"]
        level = self.noise * torch.rand(len(audio), 1, 1, device=audio.device)
        logits = self.generator(self.condition({"audio": audio + level * torch.randn_like(audio)}))
        return {"cross_entropy": cross_entropy(logits.float(), batch[self.label])}

    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Return the audio itself."""
        return batch["audio"]

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return the misclassification (0 or 1) of a held-out clip, and its cross-entropy."""
        logits, labels = self.eval_generator(self.condition(batch)).float(), batch[self.label]
        error = (logits.argmax(1) != labels).float().mean()
        return {"error": error, "cross_entropy": cross_entropy(logits, labels)}
