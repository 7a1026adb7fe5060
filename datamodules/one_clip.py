"""One segment of one clip, over and over: what a system that can learn at all has to learn by heart."""

from collections.abc import Iterator
from typing import Any

import lightning as L
import torch

from framework.errors import InvalidValueError


class OneClip(L.LightningDataModule):
    """Another data module's first training segment as every batch and as the only held-out clip.

    Args:
        data: The data module; what it has, this has too.
    """

    def __init__(self, data: Any) -> None:
        super().__init__()
        self.data = data

    def __getattr__(self, name: str) -> Any:
        if name == "data":
            raise AttributeError(name)
        return getattr(self.data, name)

    def prepare_data(self) -> None:
        """Prepare the data."""
        self.data.prepare_data()

    def advance(self, batch: dict[str, Any]) -> None:
        """Stay where it is."""

    def train_dataloader(self) -> "Repeated":
        """Return the segment as often as there are clips in a batch."""
        batch = self.first()
        clips = max(1, self.data.batch_size // (self.trainer.world_size if self.trainer else 1))
        return Repeated(repeated(batch, clips), len(self.data.train_dataloader()))

    def val_dataloader(self) -> "Repeated":
        """Return the segment once."""
        return Repeated(repeated(self.first(), 1), 1)

    def first(self) -> dict[str, Any]:
        """Return the batch that an epoch begins with, its audio in float32."""
        for batch in self.data.train_dataloader():
            self.data.teardown("fit")
            return self.data.on_after_batch_transfer(batch, 0)
        raise InvalidValueError("there is no batch to take a clip from: lower --data.batch_size")


class Repeated:
    """The same batch, a number of times."""

    def __init__(self, batch: dict[str, Any], times: int) -> None:
        self.batch, self.times = batch, times

    def __len__(self) -> int:
        return self.times

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (dict(self.batch) for _ in range(self.times))


def repeated(batch: dict[str, Any], clips: int) -> dict[str, Any]:
    """Return a batch of the first of its clips, that often."""
    count = len(batch["key"])

    def repeat(value: Any) -> Any:
        if isinstance(value, torch.Tensor) and len(value) == count:
            return value[:1].expand(clips, *value.shape[1:]).clone()
        return value[:1] * clips if isinstance(value, list) else value

    return {name: repeat(value) for name, value in batch.items()}
