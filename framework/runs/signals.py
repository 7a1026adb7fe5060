"""Stopping in good order: Ctrl-C or SIGTERM ends the run after the step that is under way, with a checkpoint."""

import signal
import sys
import threading
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from framework.runs.checkpoints import Checkpoints

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals(Callback):
    """Turns the first signal into a checkpoint and an exit with 128 + signal; the second stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.previous: dict[int, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the signals; after Lightning's own handlers, whose SIGTERM exits with 0 and saves nothing."""
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self.receive) for number in SIGNALS}

    def receive(self, number: int, frame: Any) -> None:
        """Note the signal; stop at once if it is not the first."""
        if self.received is not None:
            raise KeyboardInterrupt
        self.received = number
        print("\nstopping after this step (again to stop at once)", file=sys.stderr)

    def on_train_batch_start(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Save and leave, if a signal came during the step before."""
        if self.received is None:
            return
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Checkpoints):
                callback.save_last(trainer)
        self.restore()
        print(f"stopped at step {trainer.global_step}: the same command goes on from there", file=sys.stderr)
        raise SystemExit(128 + self.received)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Give the signals back."""
        self.restore()

    def restore(self) -> None:
        """Give the signals back to whom they belonged."""
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}
