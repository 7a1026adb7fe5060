"""What all ranks of a run have to decide alike, without waiting for each other."""

from typing import Any

import torch
import torch.distributed


class Vote:
    """The greatest of the numbers that the ranks cast, known to each of them one step later.

    A collective that were waited for at once would stall every device at every step; one in a signal's handler
    deadlocks with the one that the signal interrupted.
    """

    def __init__(self) -> None:
        self.ballot: torch.Tensor | None = None
        self.count: Any = None

    def cast(self, trainer: Any, value: float) -> float:
        """Cast this step's number; return the greatest of the step before, or with one rank this one's."""
        if trainer.world_size == 1:
            return value
        outcome = 0.0
        if self.count is not None and self.ballot is not None:
            self.count.wait()
            outcome = self.ballot.item()
        self.ballot = torch.tensor(float(value), device=trainer.strategy.root_device)
        self.count = torch.distributed.all_reduce(self.ballot, torch.distributed.ReduceOp.MAX, async_op=True)
        return outcome
