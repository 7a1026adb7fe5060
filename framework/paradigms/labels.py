"""Labels of a batch."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from framework.data_module import DataModule, FromData
from framework.errors import InvalidValueError


def classes_from_data(data: DataModule, values: Mapping[str, Any]) -> dict[str, FromData]:
    """Return the number of classes of the label that a system is conditioned on, if the data know it.

    Args:
        data: The data module.
        values: Hyperparameters of the system, among them `label`.
    """
    label = values["label"]
    if label not in data.classes:
        return {}
    return {"num_classes": FromData(data.classes[label], f"{label}s", is_least=True)}


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
