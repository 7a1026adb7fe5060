"""Atomic checkpoints, and finding the one to resume from."""

import errno
import os
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.plugins.io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from framework.errors import InvalidValueError, OstinatoError
from framework.private_names.of_lightning import begin_with_validation
from framework.runs.agreement import AsyncAllReduceMax
from framework.runs.finding import RunNotFoundError, checkpoints_of
from framework.runs.finished import LAST, claims_more
from framework.runs.folder import RunFolder
from framework.runs.released import as_checkpoint, is_released
from framework.runs.torchscript import is_torchscript, read_torchscript
from framework.writing import ErrorKeeper, Tolerant, part_of, replacing

PREVIOUS, BEST = "previous.ckpt", "best.ckpt"
LONG = 5.0
"""Duration (s) of a validation above which signals do not wait for its end and the state before it is saved."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes to a temporary file next to the target and renames it; Lightning's may be on another disk.

    A checkpoint that cannot be written causes a warning and does not end the run; `failed` has those that could not be
    written at the last attempt.

    Args:
        prepare: Function applied to a checkpoint that a training starts from.
    """

    def __init__(self, prepare: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> None:
        self.prepare = prepare
        self.tolerant = Tolerant("checkpoints")
        self.failed: dict[str, OSError] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint atomically: at every moment the old or the new one is intact.

        The old `last.ckpt` is kept as `previous.ckpt`.
        """
        path = Path(path)
        self.failed.pop(path.name, None)
        with self.tolerant:
            write_checkpoint(checkpoint, path)
        if self.tolerant.error is not None:
            self.failed[path.name] = self.tolerant.error

    def load_checkpoint(self, path: Any, *arguments: Any, **settings: Any) -> dict[str, Any]:
        """Read a checkpoint, or a system that was released for training."""
        return self.prepare(
            as_checkpoint(path) if is_released(path) else super().load_checkpoint(path, *arguments, **settings)
        )


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint atomically; an old `last.ckpt` is kept as `previous.ckpt`.

    Raises:
        WriteError: it cannot be written; existing files are unchanged.
    """
    with replacing(path) as part:
        with open(part, "wb") as file:
            # PyTorch's archive writer makes a RuntimeError without an errno of the disk's error.
            kept = ErrorKeeper(file)
            try:
                torch.save(checkpoint, kept)
            except RuntimeError:
                kept.check()
                raise
            kept.check()
        if path.name == LAST:
            keep_previous(path)


def keep_previous(last: Path) -> None:
    """Hard-link `last.ckpt` as `previous.ckpt`, or copy it if the file system has no hard links.

    If there is no space for a copy, the older `previous.ckpt` is kept.
    """
    previous = last.with_name(PREVIOUS)
    part = part_of(previous)
    try:
        try:
            os.link(last, part)
        except FileNotFoundError:
            return
        except OSError:
            shutil.copyfile(last, part)
        os.replace(part, previous)
    except OSError as error:
        print(f"warning: {previous} is older than it should be ({error.strerror or error})", file=sys.stderr)
    finally:
        # A rename to another name of the same file does nothing.
        part.unlink(missing_ok=True)


class Checkpoints(Callback):
    """Saves `last.ckpt` (and keeps the one before) at intervals of steps and minutes and at the end, and `best.ckpt`.

    The state is also saved before a validation if the last one took longer than `LONG`, so that a run which is stopped
    during a validation loses no step; it resumes with that validation.

    Lightning's own ModelCheckpoint counts optimiser steps and, with manual optimisation, saves at other steps than
    asked for and warns about it.

    Args:
        folder: Folder of the checkpoints.
        every: Steps between two `last.ckpt`.
        monitor: Validation metric; lower is better.
        minutes: Maximum time between two `last.ckpt`.
        retry_minutes: Time until a failed write is tried again.
    """

    def __init__(
        self, folder: Path, every: int, monitor: str, minutes: float = 15.0, retry_minutes: float = 1.0
    ) -> None:
        self.folder, self.every, self.monitor = folder, every, monitor
        self.minutes, self.retry_minutes = minutes, retry_minutes
        self.saved_when = time.monotonic()
        self.maximum = AsyncAllReduceMax()
        self.best = float("inf")
        self.saved_at = -1
        self.failed = False
        """Whether the last attempt to write `last.ckpt` failed, so that it is from an earlier step."""
        self.validating = False
        """Whether this is the state before a validation, with which a resumed run begins."""
        self.saved_validating = False
        self.validation_began = 0.0
        self.validation_seconds = float("inf")

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the times of the last saves; resume with a validation that was not completed."""
        self.saved_at, self.saved_validating = trainer.global_step, self.validating
        if self.validating:
            begin_with_validation(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save every so many steps: before the next one, since only then Lightning has counted and logged the last."""
        minutes = self.retry_minutes if self.failed else self.minutes
        late = self.maximum.submit(trainer, time.monotonic() - self.saved_when > 60 * minutes)
        if late or trainer.global_step % self.every == 0:
            self.save_last(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the state before a validation that may take long, except after the last step."""
        if not is_training(trainer):
            return
        is_last_step = 0 < trainer.max_steps <= trainer.global_step
        if trainer.strategy.broadcast(self.validation_seconds) > LONG and not is_last_step:
            self.validating = True
            self.save_last(trainer)
        self.validation_began = time.monotonic()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save `best.ckpt` if the metric has improved."""
        if not is_training(trainer):
            return
        self.validating, self.validation_seconds = False, time.monotonic() - self.validation_began
        value = trainer.callback_metrics.get(self.monitor)
        if value is not None and float(value) < self.best:
            before, self.best = self.best, float(value)
            if not self.save(trainer, BEST):
                self.best = before

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the state at the end of the training."""
        self.save_last(trainer)

    def save_last(self, trainer: L.Trainer) -> None:
        """Save `last.ckpt` and keep the one before it."""
        if (self.saved_at, self.saved_validating) == (trainer.global_step, self.validating) and not self.failed:
            return
        self.saved_at, self.saved_when, self.saved_validating = trainer.global_step, time.monotonic(), self.validating
        self.failed = not self.save(trainer, LAST)

    def save(self, trainer: L.Trainer, name: str) -> bool:
        """Save a checkpoint on rank zero; return, on all ranks, whether it could be written."""
        trainer.save_checkpoint(self.folder / name, weights_only=False)
        return trainer.strategy.broadcast(name not in getattr(trainer.strategy.checkpoint_io, "failed", {}))

    def state_dict(self) -> dict[str, Any]:
        """Return the best value, so that a resumed run does not overwrite a better checkpoint."""
        return {"best": self.best, "validating": self.validating}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value."""
        self.best, self.validating = state_dict["best"], state_dict.get("validating", False)


def is_training(trainer: L.Trainer) -> bool:
    """Return whether a validation is part of a training."""
    return trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking


class CheckpointError(OstinatoError, ValueError):
    """A file is not a checkpoint of this system; the message names the file and what to do."""


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint, or a release as a checkpoint, without executing code from it.

    Raises:
        CheckpointError: when the file is missing, cut short, or no checkpoint.
        ReleaseError: the same of a released system.
        OSError: the disk cannot be read; the file may be intact.
    """
    path = Path(path)
    if is_released(path):
        return as_checkpoint(path)
    if path.is_dir():
        inside = next((found for place in (path / "checkpoints", path) for found in sorted(place.glob("*.ckpt"))), None)
        remedy = f"name a checkpoint in it, as {inside}" if inside else "there is no checkpoint in it: name a file"
        raise CheckpointError(f"{path} is a folder: {remedy}")
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint")
    try:
        checkpoint = read_tensors(path)
    except Exception as error:
        # PyTorch itself says EINVAL of a file that is cut short; other such errors are the disk's.
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno != errno.EINVAL):
            raise
        raise CheckpointError(f"{path} is cut short or no checkpoint ({reason_of(error)}): use another") from error
    if not isinstance(checkpoint, dict):
        raise CheckpointError(f"{path} is a {type(checkpoint).__name__}, no checkpoint")
    return checkpoint


def read_tensors(path: str | Path) -> Any:
    """Return what PyTorch or TorchScript stored in a file, without executing code from it."""
    if is_torchscript(path):
        return read_torchscript(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if claims_more(archive):
                raise InvalidValueError("it holds more than its size, which no file of PyTorch does")
    return torch.load(path, map_location="cpu", weights_only=True)


def reason_of(error: Exception) -> str:
    """Return a short reason why PyTorch cannot read a file, in place of its long message."""
    if isinstance(error, LookupError):
        return "not in PyTorch's format"
    said = (str(error) or type(error).__name__).splitlines()[0]
    return "not of tensors alone" if said.startswith("Weights only load failed") else said[:120]


def is_ours(checkpoint: dict[str, Any]) -> bool:
    """Return whether a checkpoint was written by a run, rather than by a system's official code."""
    return "pytorch-lightning_version" in checkpoint


def check_fits(checkpoint: dict[str, Any], system: L.LightningModule, path: str | Path) -> None:
    """Check that weights have the names and shapes of a system's.

    Raises:
        CheckpointError: they differ; the message names the first parameter that does.
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
        CheckpointError: they are of another network, or were trained with another mel front end.
    """
    check_fits(checkpoint, system, path)
    system.on_load_checkpoint(checkpoint)
    system.load_state_dict(checkpoint["state_dict"])


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint that can be read, with a warning for those that cannot; None if there is none.

    Raises:
        CheckpointError: there are checkpoints, and none can be read.
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


def chosen_checkpoint(folder: RunFolder, ckpt: str | int = "last") -> Path:
    """Return a checkpoint of a run.

    Args:
        folder: The run's folder.
        ckpt: `last` for the newest that can be read, `best` for the one with the lowest validation metric, or a step.

    Raises:
        RunNotFoundError: there is none; the message names those there are.
        CheckpointError: none can be read.
    """
    if ckpt == "last":
        path = newest_checkpoint(folder.checkpoints)
        if path is None:
            raise RunNotFoundError(
                f"{folder.path} has no checkpoint yet: `ostinato fit` with the values of the run continues it"
            )
        return path
    known = checkpoints_of(folder)
    if ckpt == "best":
        names = [BEST] if BEST in known else []
    elif str(ckpt).isdecimal():
        names = [name for name in (LAST, PREVIOUS, BEST, *known) if known.get(name) == int(ckpt)]
    else:
        raise InvalidValueError(f"--ckpt {ckpt}: must be last, best or a step; a file is named by --ckpt_path")
    if not names:
        held = ", ".join(f"{name} of step {step}" for name, step in known.items()) or "none"
        wanted = "best checkpoint" if ckpt == "best" else f"checkpoint of step {ckpt}"
        raise RunNotFoundError(f"{folder.path} has no {wanted}: choose among those it has ({held})")
    return folder.checkpoints / names[0]
