"""A data module that repeats one segment of one clip, on which a working system must overfit."""

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
        self.position = (0, 0)

    def __getattr__(self, name: str) -> Any:
        if name == "data":
            raise AttributeError(name)
        return getattr(self.data, name)

    def prepare_data(self) -> None:
        """Prepare the data."""
        self.data.prepare_data()

    def advance(self, batch: dict[str, Any]) -> None:
        """Count a batch; the segment stays the same."""
        epoch, step = self.position
        self.position = (epoch, step + 1) if step + 1 < self.data.plan.steps else (epoch + 1, 0)

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and what has to be unchanged for the segment to be the same."""
        epoch, step = self.position
        return {**self.data.state_dict(), "epoch": epoch, "step": step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue at a stored position.

        Raises:
            ValueError: the segment is another one now.
        """
        self.data.load_state_dict({**state, "epoch": 0, "step": 0})
        self.position = state["epoch"], state["step"]

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
