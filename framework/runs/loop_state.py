"""Checkpoints as Lightning has to be given them, so that a training continues as if it had never stopped.

Lightning restores its counters of epochs and batches as they were when a checkpoint was saved: at the end of a run the
last epoch counts as completed although it was not, or as begun once more, and the learning rate decays too early.
A checkpoint that is saved before a batch restores exactly; every other one is brought into that form here.
"""

from collections.abc import Mapping
from typing import Any

CONTINUED = (
    "pytorch-lightning_version", "epoch", "global_step", "loops", "state_dict", "optimizer_states", "lr_schedulers",
    "hparams_name", "hyper_parameters", "front_end", "autoencoder",
)  # fmt: skip
"""Parts of a checkpoint that can be used on other data: not the position in the data, nor what was best on them."""


CHECKPOINTS = "Checkpoints"
"""The callback `framework.runs.checkpoints.Checkpoints` in a checkpoint."""


def begins_with_validation(checkpoint: Mapping[str, Any]) -> bool:
    """Say whether a checkpoint was saved before a validation, which a run that continues from it begins with."""
    return bool(checkpoint.get("callbacks", {}).get(CHECKPOINTS, {}).get("validating"))


def before_next_batch(loops: Mapping[str, Any], position: tuple[int, int] | None) -> dict[str, Any]:
    """Return the state of Lightning's loops as it is before the next training batch, whenever it was stored.

    Args:
        loops: `loops` of a checkpoint.
        position: Epoch and step in the data that the training continues at, where it is known.
    """
    fit = dict(loops["fit_loop"])
    epochs, batches = fit["epoch_progress"], fit["epoch_loop.batch_progress"]
    # A batch that callbacks save behind is processed, and completed only after them.
    done, total = batches["current"]["processed"], batches["total"]["processed"]
    within_batch = batches["current"]["ready"] > done
    # An epoch that is shorter than Lightning expects ends without a last batch.
    if not within_batch and (batches["is_last_batch"] or (position is not None and position[1] == 0)):
        epoch, done = epochs["current"]["ready"], 0
    else:
        epoch = max(epochs["current"]["ready"] - 1, 0)
    begun = {"ready": epoch + 1, "started": epoch + 1, "processed": epoch, "completed": epoch}
    fit["epoch_progress"] = {"total": begun, "current": dict(begun)}
    fit["epoch_loop.batch_progress"] = {
        "total": _before(total), "current": _before(done), "is_last_batch": False
    }  # fmt: skip
    # Lightning adds one when it restores, and logs every so many of these.
    stored = fit.get("epoch_loop.state_dict", {})
    fit["epoch_loop.state_dict"] = stored | {"_batches_that_stepped": max(total - 1, 0)}
    return {**loops, "fit_loop": fit}


def _before(count: int) -> dict[str, int]:
    return {"ready": count + 1, "started": count, "processed": count, "completed": count}


def at_epoch_start(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a checkpoint that can be used on other data, reset to the start of an epoch."""
    loops = before_next_batch(checkpoint["loops"], None)
    batches = loops["fit_loop"]["epoch_loop.batch_progress"]
    loops["fit_loop"]["epoch_loop.batch_progress"] = batches | {"current": _before(0)}
    return {name: checkpoint[name] for name in CONTINUED if name in checkpoint} | {"loops": loops}
