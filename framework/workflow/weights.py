"""Weights of any origin into a system: a run's checkpoint, a release, or an official checkpoint."""

from pathlib import Path
from typing import Any

from framework.export.release import load_eval_weights
from framework.runs.checkpoints import is_ours, load_weights_of, read_checkpoint
from framework.runs.importers import load_official


def load_into(system: Any, path: str | Path) -> int:
    """Load weights into a system; return the training step that they are of, 0 where that is not known.

    Args:
        system: The system, with the values that it was trained with.
        path: A checkpoint of a run, a file by `ostinato release`, or a checkpoint of the system's official code.

    Raises:
        CheckpointError, ReleaseError, OfficialCheckpointError: the file holds no weights for this system.
    """
    checkpoint = read_checkpoint(path)
    if is_ours(checkpoint):
        load_weights_of(checkpoint, system, path)
    elif "released" in checkpoint:
        load_eval_weights(system, checkpoint, path)
    else:
        load_official(system.generator, path)
    return int(checkpoint.get("global_step", 0))
