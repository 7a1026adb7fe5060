"""Stopping in good order: a signal to any rank ends the run after a step of all of them, with a checkpoint."""

import os
import signal
import subprocess
import sys
import threading
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from framework.interrupts import stops_in_good_order
from framework.runs.agreement import Vote
from framework.runs.checkpoints import Checkpoints

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; what schedulers send before they kill; what Slurm sends ahead of a time limit (`--signal=USR1@90`)."""


class StopSignals(Callback):
    """Turns the first signal into a checkpoint and an exit with 128 + signal; the second stops at once.

    In a Slurm job, SIGUSR1 also puts the job back into the queue, where it goes on by the same command.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self.previous: dict[int, Any] = {}
        self.vote = Vote()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals; after Lightning's own handlers, whose SIGTERM exits with 0 and saves nothing."""
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self.receive) for number in SIGNALS}
        # Lightning asks all ranks at every batch whether one has been told to stop, and waits for the answers.
        trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]

    @stops_in_good_order(1)
    def receive(self, number: int, frame: Any) -> None:
        """Note the signal; stop at once if it is not the first."""
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        print(f"\n{signal.Signals(number).name}: stopping after this step (again to stop at once)", file=sys.stderr)

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
            # The launcher takes another rank's status for a failure, and kills the first one while it tidies up.
            raise SystemExit(0)
        print(f"stopped at step {trainer.global_step}: the same command goes on from there", file=sys.stderr)
        if number == signal.SIGUSR1 and "SLURM_JOB_ID" in os.environ:
            subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], check=False)
        raise SystemExit(128 + number)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        self.restore()

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
