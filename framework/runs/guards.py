"""Guards of a long run: against numbers that go wrong, and against a step that never ends."""

import faulthandler
import os
import sys
import threading
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from framework.runs.folder import RunError


class SkippedSteps(Callback):
    """Counts the updates that were left out because a gradient was not finite, and stops when they do not end.

    Whether one was is read a step later, when the device has long computed it, so that nothing waits for the answer.

    Args:
        limit: How many steps in a row may be left out.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_a_row = self.total = 0
        self.pending: tuple[int, list[str], dict[str, Any]] | None = None

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look at the step before.

        Raises:
            RunError: too many in a row, with the clips of the last of them.
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
        """Take note of what the step was made of."""
        self.pending = trainer.global_step, list(batch["key"]), dict(pl_module.not_finite)  # type: ignore[arg-type]

    def state_dict(self) -> dict[str, Any]:
        """Return the counts."""
        return {"total": self.total, "in_a_row": self.in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the counts."""
        self.total, self.in_a_row = state_dict["total"], state_dict["in_a_row"]


class StallWatchdog(Callback):
    """Ends a run in which nothing has happened for too long, showing where every thread of every rank stood.

    A collective that waits for a rank that is gone, or a file system that does not answer, would otherwise hold its
    devices until somebody looks.

    Args:
        minutes: How long a step or a held-out clip may take; 0 for ever.
    """

    STATUS = 75  # EX_TEMPFAIL: the same command may go on

    def __init__(self, minutes: float) -> None:
        self.seconds = 60 * minutes
        self.last = time.monotonic()
        self.stopped = threading.Event()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin to watch."""
        self.alive()
        if self.seconds:
            threading.Thread(target=self.watch, args=(trainer.global_rank,), daemon=True).start()

    def watch(self, rank: int) -> None:
        """Look at the clock until training ends."""
        while not self.stopped.wait(min(self.seconds / 10, 10.0)):
            still = time.monotonic() - self.last
            if still > self.seconds:
                print(f"rank {rank}: nothing has happened for {still / 60:.1f} minutes; its threads:", file=sys.stderr)
                faulthandler.dump_traceback(sys.stderr, all_threads=True)
                sys.stderr.flush()
                os._exit(self.STATUS)

    def alive(self, *_: Any) -> None:
        """Take note that something has happened."""
        self.last = time.monotonic()

    on_train_batch_start = on_train_batch_end = on_train_epoch_end = alive  # type: ignore[assignment]
    on_validation_batch_start = on_validation_batch_end = on_validation_end = alive  # type: ignore[assignment]

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Watch no more."""
        self.stopped.set()
