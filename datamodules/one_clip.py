"""A data module that repeats one segment of one clip, on which a working system must overfit."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from framework.data_module import Batch, DataModule
from framework.errors import InvalidValueError


class OneClip(DataModule):
    """Another data module's first training segment as every batch and as the only held-out clip.

    Args:
        data: The data module, whose sample rate, segments, labels and classes it has.
    """

    def __init__(self, data: DataModule) -> None:
        super().__init__()
        self.data = data
        self.sample_rate, self.segment = data.sample_rate, data.segment
        self.batch_size, self.seed = data.batch_size, data.seed
        self.f0_hop, self.score_hop, self.labels = data.f0_hop, data.score_hop, data.labels
        self.validation_clips = 1

    def __str__(self) -> str:
        """Return the data that the segment is from."""
        return f"{type(self).__name__}({self.data})"

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in an epoch: that of the data."""
        return self.data.steps_per_epoch

    def bad_clip_counts(self) -> dict[str, int]:
        """Return how many training clips of the data could not be used so far, by the kind of damage."""
        return self.data.bad_clip_counts()

    @property
    def classes(self) -> Mapping[str, int]:
        """Number of classes of each label: that of the data."""
        return self.data.classes

    def prepare_data(self) -> None:
        """Prepare the data."""
        self.data.prepare_data()

    def fingerprint(self) -> str:
        """Return the hash of all clips of the data."""
        return self.data.fingerprint()

    def advance(self, batch: Batch) -> None:
        """Count a batch; all of them are the same."""
        self._position = self.after(self.position)

    def order(self) -> dict[str, Any]:
        """Return what has to be unchanged for the segment to be the same, by name."""
        return self.data.order()

    def train_dataloader(self) -> "Repeated":
        """Return the segment as often as there are clips in a batch."""
        clips = max(1, self.batch_size // self.rank_and_world[1])
        return Repeated(repeated(self.first(), clips), self.steps_per_epoch)

    def held_out(self, split: str, clips: int | None = None) -> "Repeated":
        """Return the segment once, whatever the split."""
        return Repeated(repeated(self.first(), 1), 1)

    def first(self) -> dict[str, Any]:
        """Return the batch that an epoch begins with, its audio in float32.

        Raises:
            ValueError: an epoch has no batch.
        """
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
