"""Labels of a batch."""

from typing import Any

from torch import Tensor

from framework.errors import InvalidValueError


def labels_of(batch: dict[str, Any], name: str, count: int) -> Tensor:
    """Return the labels `(batch,)` of a batch under a key.

    Raises:
        ValueError: the batch has no such labels, or one that is not in [0, count).
    """
    if name not in batch:
        raise InvalidValueError(
            f"the system is told the {name!r} of a clip, which the data does not give: "
            f"set --data.labels '[\"{name}\"]' where the clips have it, or --model.label ''"
        )
    labels: Tensor = batch[name]
    if labels.min() < 0 or labels.max() >= count:
        raise InvalidValueError(f"{name} {labels.tolist()}: the networks have {count}, from 0 on")
    return labels
