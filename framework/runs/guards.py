"""Guards of long runs: against gradients that are not finite, and against steps that do not end."""

import faulthandler
import os
import sys
import threading
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from framework.liveness import alive, processor_seconds, seconds_since_alive
from framework.runs.stored_files import RunError


class SkippedSteps(Callback):
    """Counts the updates that were skipped because a gradient was not finite, and ends the run after too many in a row.

    The result is read one step later, so that the host does not wait for the device.

    Args:
        limit: Maximum number of consecutive skipped steps.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_a_row = self.total = 0
        self.pending: tuple[int, list[str], dict[str, Any]] | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Check the previous step.

        Raises:
            RunError: too many consecutive steps were skipped; the message names the clips of the last.
        """
        if self.pending is None:
            return
        (step, clips, flags), self.pending = self.pending, None
        networks = [name for name, flag in flags.items() if float(flag)]
        if not networks:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        self.total += 1
        pl_module.log("train/skipped_steps", float(self.total))
        what = f"step {step}: the gradient of the {' and the '.join(networks)} is not finite"
        print(f"{what}, no update ({', '.join(clips)})", file=sys.stderr)
        if self.in_a_row >= self.limit:
            raise RunError(
                f"{what}, {self.in_a_row} steps in a row. Last clips: {', '.join(clips)}. The weights are those from "
                "before and last.ckpt holds them: lower --model.learning_rate or --model.gradient_clip"
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the clips of the step."""
        self.pending = trainer.global_step, list(batch["key"]), dict(pl_module.not_finite)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counts."""
        self.total, self.in_a_row = state_dict["total"], state_dict["in_a_row"]


class Watchdog:
    """Ends a process that has made no progress for too long, and prints the stack of every thread.

    A collective that waits for a rank that has ended, or a file system that does not respond, would otherwise block the
    devices indefinitely. To be entered when the process starts. What is done reports by `alive`. Until
    `Liveness` says that the training begins, the time of the processor counts as well: data may be prepared by code
    that reports nothing.

    Args:
        minutes: How long a step, a held-out clip or a part of the preparation may take; 0 for ever.
        name: What the process is called, such as `rank 1`.
    """

    STATUS = 75  # EX_TEMPFAIL: the same command may go on
    WORKING = 0.02
    """Share of one processor from which on a process that prepares data counts as working."""

    def __init__(self, minutes: float, name: str) -> None:
        self.seconds, self.name = 60 * minutes, name
        self.preparing = True
        self.stopped = threading.Event()

    def __enter__(self) -> "Watchdog":
        """Begin to watch."""
        alive()
        if self.seconds:
            threading.Thread(target=self.watch, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        """Watch no more."""
        self.stopped.set()

    def watch(self) -> None:
        """Look at the clock."""
        interval = min(self.seconds / 10, 10.0)
        worked = processor_seconds()
        while not self.stopped.wait(interval):
            before, worked = worked, processor_seconds()
            if self.preparing and worked - before > self.WORKING * interval:
                alive()
            still = seconds_since_alive()
            if still > self.seconds:
                print(f"{self.name}: nothing has happened for {still / 60:.1f} minutes; its threads:", file=sys.stderr)
                faulthandler.dump_traceback(sys.stderr, all_threads=True)
                sys.stderr.flush()
                os._exit(self.STATUS)


class Liveness(Callback):
    """Reports to the watchdog whatever Lightning gets done.

    Args:
        watchdog: The watchdog.
    """

    def __init__(self, watchdog: Watchdog) -> None:
        self.watchdog = watchdog

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tell the watchdog that the preparation is over."""
        alive()
        self.watchdog.preparing = False

    setup = on_fit_start = staticmethod(alive)  # type: ignore[assignment]
    on_train_batch_start = on_train_batch_end = on_train_epoch_end = on_train_end = staticmethod(alive)  # type: ignore[assignment]
    on_validation_start = on_validation_batch_start = staticmethod(alive)  # type: ignore[assignment]
    on_validation_batch_end = on_validation_end = staticmethod(alive)  # type: ignore[assignment]
