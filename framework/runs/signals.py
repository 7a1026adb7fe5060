"""Stopping in good order: a signal to any rank ends the run after a step of all of them, with a checkpoint."""

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
from framework.runs.agreement import Vote
from framework.runs.checkpoints import Checkpoints

TIME_TO_VALIDATE = 10.0
"""Seconds after a signal in which a validation that is usually short has to end."""
TIME_TO_CLOSE = 10.0
"""Seconds that a run has to close its logs when it is stopped during a validation or the final evaluation."""


def requeue(number: int | None) -> None:
    """Put a Slurm job that was stopped by SIGUSR1 back into the queue."""
    if number == signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ:
        subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)


class StopSignals(Callback):
    """Turns the first signal during training into a checkpoint and an exit with 128 + signal; the second stops at once.

    Before the first step, during a long validation and after the training there is nothing to save that is not saved
    already: there the signals are answered by whoever answers them in the whole program, at once. A short validation is
    completed. In a Slurm job, SIGUSR1 also puts the job back into the queue, where the same command continues the run.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.previous: dict[int, Any] = {}
        self.vote = Vote()
        self.has_trained = self.validating = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Keep Lightning's own handlers out of the way."""
        leave_signals_alone(trainer)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save and leave, if a signal has come to any rank."""
        number = int(self.vote.cast(trainer, self.received or 0))
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
        """From the first step on, let signals wait for the end of a step."""
        if not self.has_trained:
            self.has_trained = True
            on_interruption(grace=TIME_TO_CLOSE)
            self.take_over()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop now if a signal has come and the state before the validation has just been saved."""
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        if not any(isinstance(callback, Checkpoints) and callback.validating for callback in callbacks):
            self.validating = trainer.state.fn == TrainerFn.FITTING
            return
        if self.received:
            self.leave()
            self.exit(trainer, self.received)
        self.restore()

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Let signals wait again."""
        self.validating = False
        if trainer.state.fn == TrainerFn.FITTING and self.has_trained:
            self.take_over()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back, and leave if one has come to any rank since the last step began."""
        received = torch.tensor(float(self.received or 0), device=trainer.strategy.root_device)
        if number := int(trainer.strategy.reduce(received, reduce_op="max")):
            self.leave()
            if not trainer.is_global_zero:
                raise SystemExit(0)
            self.exit(trainer, number)
        self.restore()

    @stops_in_good_order(1)
    def receive(self, number: int, frame: Any) -> None:
        """Note the signal; stop at once if it is not the first."""
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
        """Say where the run stopped, and exit."""
        if trainer.is_global_zero:
            print(f"stopped at step {trainer.global_step}: the same command continues the run", file=sys.stderr)
            requeue(number)
        raise SystemExit(128 + number)

    def take_over(self) -> None:
        """Answer the signals, but for those that this process was started to ignore."""
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
        """Give the signals back to whom they belonged."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}
