"""Checking and dividing batches of any data module or data loader."""

from typing import Any

from torch import Tensor

from framework.errors import InvalidTypeError, InvalidValueError


def complete(batch: Any, batch_index: int, needs_audio: bool) -> None:
    """Add names of the clips to a batch as `key`, if it has none.

    Args:
        batch: A dictionary, changed in place.
        batch_index: Index of the batch, used as the prefix of the names.
        needs_audio: Whether a batch without `audio` is refused.

    Raises:
        TypeError: the batch is not a dictionary.
        ValueError: the batch has no audio, or audio of another shape than `(batch, 1, time)`.
    """
    if not isinstance(batch, dict):
        raise InvalidTypeError(
            f"a batch is a {type(batch).__name__}: make it a dictionary with the audio (batch, 1, time) as 'audio'"
        )
    audio = batch.get("audio")
    if audio is None and needs_audio:
        raise InvalidValueError(f"a batch has {', '.join(map(repr, batch))}: it needs 'audio' (batch, 1, time)")
    if isinstance(audio, Tensor) and (audio.dim() != 3 or audio.shape[1] != 1):
        raise InvalidValueError(f"the audio of a batch has the shape {tuple(audio.shape)}: make it (batch, 1, time)")
    if "key" not in batch:
        batch["key"] = [f"{batch_index}_{number}" for number in range(count(batch))]


def count(batch: dict[str, Any]) -> int:
    """Return the number of clips in a batch."""
    if "key" in batch:
        return len(batch["key"])
    return next((len(value) for value in batch.values() if isinstance(value, Tensor) and value.dim()), 1)


def split(batch: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """Divide a batch into parts of `size` clips; values that are not per clip are in every part."""
    clips = count(batch)
    if clips == size:
        return [batch]
    return [
        {n: v[i : i + size] if isinstance(v, (list, Tensor)) and len(v) == clips else v for n, v in batch.items()}
        for i in range(0, clips, size)
    ]
