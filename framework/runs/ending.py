"""How a training ended: after all planned steps, by a stopping rule, or interrupted."""

import sys
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, EarlyStopping, Timer
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from framework.runs.agreement import AsyncAllReduceMax
from framework.runs.checkpoints import Checkpoints

UNFINISHED = 75  # EX_TEMPFAIL
"""Exit status of a run that was interrupted; the same command resumes it."""


def planned_end(trainer: L.Trainer) -> str:
    """Return what ended a training as planned; empty if it was interrupted.

    That is `max_steps`, `max_epochs`, or an EarlyStopping callback, which is part of the run's identity.
    """
    if 0 <= trainer.max_steps <= trainer.global_step:
        return "max_steps"
    if trainer.max_epochs is not None and 0 <= trainer.max_epochs <= trainer.current_epoch:
        return "max_epochs"
    return next((rule.stopping_reason_message or "EarlyStopping" for rule in rules(trainer) if has_fired(rule)), "")


def rules(trainer: L.Trainer) -> list[EarlyStopping]:
    """Return the callbacks that are stopping rules."""
    return [callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping)]  # type: ignore[attr-defined]


def has_fired(rule: EarlyStopping) -> bool:
    """Return whether a stopping rule has ended the run, in this session or an earlier one."""
    return rule.stopping_reason is not EarlyStoppingReason.NOT_STOPPED


class StoppingRules(Callback):
    """Prevents further training if a stopping rule had ended the run in an earlier session."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop before the first step."""
        trainer.should_stop = trainer.should_stop or any(map(has_fired, rules(trainer)))


class TimeLimit(Callback):
    """Limits the time of a session: saves `last.ckpt` and exits; the same command resumes the run.

    Lightning's timer counts the time of all sessions and validates when it ends one, so that the metrics of a run, and
    possibly its best checkpoint, would depend on the speed of the machine.

    Args:
        duration: Time limit, in the formats of the Trainer's `max_time`.
    """

    def __init__(self, duration: Any) -> None:
        self.seconds = Timer(duration).time_remaining() or 0.0
        self.began = time.monotonic()
        self.maximum = AsyncAllReduceMax()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Start the timer."""
        self.began = time.monotonic()

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save and exit if the time is over on any rank.

        Raises:
            SystemExit: the time is over; the status is that of an interrupted run.
        """
        if not self.maximum.submit(trainer, time.monotonic() - self.began >= self.seconds):
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoints):
                callback.save_last(trainer)
        if not trainer.is_global_zero:
            # The launcher takes another rank's status for a failure.
            raise SystemExit(0)
        print(f"{stopped_at(trainer)} (--trainer.max_time): the same command continues from there", file=sys.stderr)
        raise SystemExit(UNFINISHED)


def stopped_at(trainer: L.Trainer) -> str:
    """Return the message that says at which step a training has stopped."""
    of = f" of {trainer.max_steps}" if trainer.max_steps > 0 else ""
    return f"stopped at step {trainer.global_step}{of}"
