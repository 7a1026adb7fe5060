"""Checkpoints that survive a kill at any moment, and finding the one to go on from."""

import errno
import os
import sys
import time
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from framework.errors import OstinatoError
from framework.runs.agreement import Vote
from framework.runs.released import as_checkpoint, is_released

LAST, PREVIOUS, BEST = "last.ckpt", "previous.ckpt", "best.ckpt"


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and renames: Lightning stages in the temporary folder, which may be another disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint so that at no moment neither the old nor the new one is whole.

        The old `last.ckpt` stays as `previous.ckpt`. A disk that is full costs this checkpoint and not the run.
        """
        path = Path(path)
        part = path.with_name(f".{path.name}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            if path.name == LAST and path.exists():
                os.replace(path, path.with_name(PREVIOUS))
            os.replace(part, path)
        except (OSError, RuntimeError) as error:
            # torch's archive writer turns the disk's error into a RuntimeError of its own.
            part.unlink(missing_ok=True)
            print(f"warning: {path} could not be written ({error}): make room; the run goes on", file=sys.stderr)

    def load_checkpoint(self, path: Any, *arguments: Any, **settings: Any) -> dict[str, Any]:
        """Read a checkpoint, or a system that was released for training."""
        return as_checkpoint(path) if is_released(path) else super().load_checkpoint(path, *arguments, **settings)


class Checkpoints(Callback):
    """Keeps `last.ckpt` (and the one before it) every so many steps or minutes and at the end, and `best.ckpt`.

    Lightning's own ModelCheckpoint counts optimiser steps and, with manual optimisation, saves at other steps than
    asked for and warns about it.

    Args:
        folder: Where the checkpoints go.
        every: Steps between two `last.ckpt`.
        monitor: Metric of the validation of which the lowest is the best.
        minutes: Longest time between two `last.ckpt`, whatever a step takes.
    """

    def __init__(self, folder: Path, every: int, monitor: str, minutes: float = 15.0) -> None:
        self.folder, self.every, self.monitor, self.minutes = folder, every, monitor, minutes
        self.saved_when = time.monotonic()
        self.vote = Vote()
        self.best = float("inf")
        self.saved_at = -1

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take note of what a resumed run has saved already."""
        self.saved_at = trainer.global_step

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save every so many steps: before the next one, since only then Lightning has counted and logged the last."""
        late = self.vote.cast(trainer, time.monotonic() - self.saved_when > 60 * self.minutes)
        if late or trainer.global_step % self.every == 0:
            self.save_last(trainer)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the best."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or trainer.state.fn != TrainerFn.FITTING or value is None:
            return
        if float(value) < self.best:
            self.best = float(value)
            trainer.save_checkpoint(self.folder / BEST, weights_only=False)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save where the training ended."""
        self.save_last(trainer)

    def save_last(self, trainer: L.Trainer) -> None:
        """Save `last.ckpt`, keeping the one before it."""
        if self.saved_at == trainer.global_step:
            return
        self.saved_at, self.saved_when = trainer.global_step, time.monotonic()
        trainer.save_checkpoint(self.folder / LAST, weights_only=False)

    def state_dict(self) -> dict[str, Any]:
        """Return the best value so far, so that a resumed run does not overwrite a better checkpoint."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best value so far."""
        self.best = state_dict["best"]


class CheckpointError(OstinatoError, ValueError):
    """A file is no checkpoint of this system; the message names it and the remedy."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint, or a released system as one, without running code from it.

    Raises:
        CheckpointError: when the file is missing, cut short, or no checkpoint.
        ReleaseError: the same of a released system.
        OSError: when the disk cannot be read, which says nothing of the file.
    """
    path = Path(path)
    if is_released(path):
        return as_checkpoint(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # PyTorch itself says EINVAL of a file that is cut short; other such errors are the disk's.
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise
        raise CheckpointError(f"{path} is cut short or no checkpoint ({reason_of(error)}): use another") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} is a {type(checkpoint).__name__}, no checkpoint")
    return checkpoint


def reason_of(error: Exception) -> str:
    """Return in a few words why PyTorch cannot read a file: its own are a page on how to trust it."""
    said = (str(error) or type(error).__name__).splitlines()[0]
    return "not of tensors alone" if said.startswith("Weights only load failed") else said[:120]


def is_ours(checkpoint: dict[str, Any]) -> bool:
    """Say whether a checkpoint was written by a run, rather than by a system's official code."""
    return "pytorch-lightning_version" in checkpoint


def check_fits(checkpoint: dict[str, Any], system: L.LightningModule, path: str | Path) -> None:
    """Refuse the weights of another network.

    Raises:
        CheckpointError: naming the first parameter that differs.
    """
    stored, own = checkpoint["state_dict"], system.state_dict()
    for name in [*own, *stored]:
        here, there = (tuple(s[name].shape) if name in s else None for s in (own, stored))
        if here != there:
            raise CheckpointError(
                f"{path} holds another network than {type(system).__name__}: {name} is {there or 'missing'} there and "
                f"{here or 'missing'} here; use the experiment and the values it was trained with"
            )


def load_weights_of(checkpoint: dict[str, Any], system: L.LightningModule, path: str | Path) -> None:
    """Load a run's weights into a system.

    Raises:
        CheckpointError: when they are another network's, or were trained on another mel front end.
    """
    check_fits(checkpoint, system, path)
    system.on_load_checkpoint(checkpoint)
    system.load_state_dict(checkpoint["state_dict"])


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that reads, saying aloud what does not; `None` when there is none.

    Raises:
        CheckpointError: there are some, and none of them reads.
    """
    present = [path for name in (LAST, PREVIOUS, BEST) if (path := folder / name).exists()]
    for path in present:
        try:
            read_checkpoint(path)
            return path
        except CheckpointError as error:
            print(f"warning: {error}")
    if present:
        raise CheckpointError(f"{folder}: no checkpoint can be read: restore one, or remove the run to begin anew")
    return None
