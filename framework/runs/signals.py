"""Stopping on signals: a signal to any rank ends the run after a step on all ranks, with a checkpoint."""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from framework.interrupts import SIGNALS, on_interruption, stops_in_good_order
from framework.private_names.of_lightning import leave_signals_alone
from framework.runs.agreement import AsyncAllReduceMax
from framework.runs.checkpoints import Checkpoints

TIME_TO_VALIDATE = 10.0
"""Time (s) after a signal within which a short validation has to end."""
TIME_TO_CLOSE = 10.0
"""Time (s) for closing the logs of a run that is stopped during a validation or the final evaluation."""


def requeue(number: int | None) -> None:
    """Put a Slurm job that was stopped by SIGUSR1 back into the queue."""
    if number == signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ:
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)


class StopSignals(Callback):
    """Saves a checkpoint on the first signal during training and exits with 128 + signal; on the second, exits at once.

    Before the first step, during a long validation and after the training there is nothing to save that is not saved
    already: there the signals are answered by whoever answers them in the whole program, at once. A short validation is
    completed. In a Slurm job, SIGUSR1 also puts the job back into the queue, where the same command continues the run.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.previous: dict[int, Any] = {}
        self.maximum = AsyncAllReduceMax()
        self.has_trained = self.validating = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Disable Lightning's signal handlers."""
        leave_signals_alone(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save and exit if any rank has received a signal."""
        number = int(self.maximum.submit(trainer, self.received or 0))
        if not number:
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoints):
                callback.save_last(trainer)
        self.leave()
        if not trainer.is_global_zero:
            # Another status would be taken for a failure.
            raise SystemExit(0)
        self.exit(trainer, number)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Defer signals to the end of a step, from the first step on."""
        if not self.has_trained:
            self.has_trained = True
            on_interruption(grace=TIME_TO_CLOSE)
            self.take_over()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Exit if a signal was received and the state before the validation has just been saved."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, Checkpoints) and callback.validating for callback in callbacks):
            self.validating = trainer.state.fn == TrainerFn.FITTING
            return
        if self.received:
            self.leave()
            self.exit(trainer, self.received)
        self.restore()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Defer signals again."""
        self.validating = False
        if trainer.state.fn == TrainerFn.FITTING and self.has_trained:
            self.take_over()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Restore the signal handlers, and exit if any rank has received a signal since the last step began."""
        received = torch.tensor(float(self.received or 0), device=trainer.strategy.root_device)
        if number := int(trainer.strategy.reduce(received, reduce_op="max")):
            self.leave()
            if not trainer.is_global_zero:
                raise SystemExit(0)
            self.exit(trainer, number)
        self.restore()

    @stops_in_good_order(1)
    def receive(self, number: int, frame: Any) -> None:
        """Record the signal; exit at once if it is not the first."""
        if self.received is not None:
            if callable(before := self.previous.get(number)):
                before(number, frame)
            raise KeyboardInterrupt
        self.received = number
        if self.validating:
            # It should be short, but if it is not, it is stopped as by a second signal.
            timer = threading.Timer(TIME_TO_VALIDATE, self.insist, (number,))
            timer.daemon = True
            timer.start()
        print(f"\n{signal.Signals(number).name}: stopping after this step (again to stop at once)", file=sys.stderr)

    def insist(self, number: int) -> None:
        """Send a signal again if the validation in which it came has not ended."""
        if self.validating:
            os.kill(os.getpid(), number)

    def exit(self, trainer: L.Trainer, number: int) -> None:
        """Print at which step the run stopped, and exit."""
        if trainer.is_global_zero:
            print(f"stopped at step {trainer.global_step}: the same command continues the run", file=sys.stderr)
            requeue(number)
        raise SystemExit(128 + number)

    def take_over(self) -> None:
        """Install the handlers, except for signals that this process ignores."""
        if threading.current_thread() is threading.main_thread() and not self.previous:
            wanted = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self.previous = {number: signal.signal(number, self.receive) for number in wanted}

    def leave(self) -> None:
        """Let nothing disturb the way out, such as the SIGTERM that Slurm adds to a requeue; Ctrl-C still does."""
        if self.previous:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)

    def restore(self) -> None:
        """Restore the previous handlers."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}
