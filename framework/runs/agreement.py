"""Decisions that all ranks of a run make alike, without synchronisation."""

from typing import Any

import torch
import torch.distributed


class AsyncAllReduceMax:
    """The maximum over all ranks of a number per step, available one step later.

    Waiting for the collective in the same step would stall every device at every step, and a collective in a signal
    handler deadlocks with the one that the signal interrupted.
    """

    def __init__(self) -> None:
        self.value: torch.Tensor | None = None
        self.count: Any = None

    def submit(self, trainer: Any, value: float) -> float:
        """Submit this step's number; return the maximum of the previous step, or with one rank this step's number."""
        if trainer.world_size == 1:
            return value
        outcome = 0.0
        if self.count is not None and self.value is not None:
            self.count.wait()
            outcome = self.value.item()
        self.value = torch.tensor(float(value), device=trainer.strategy.root_device)
        self.count = torch.distributed.all_reduce(self.value, torch.distributed.ReduceOp.MAX, async_op=True)
        return outcome
