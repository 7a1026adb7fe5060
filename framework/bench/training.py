"""A training inside `Trainer.fit` that executes single steps on request, so that they can be timed in turns."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import lightning as L
from torch import Tensor
from torch.utils.data import DataLoader

from framework.bench.harness import BenchError
from framework.paradigms.system import System
from framework.quiet import quieten


class OneBatch(L.LightningDataModule):
    """The same audio `(batch, 1, time)` for every step."""

    def __init__(self, audio: Tensor, sample_rate: int) -> None:
        super().__init__()
        self.batch, self.sample_rate = {"audio": audio, "key": [str(i) for i in range(len(audio))]}, sample_rate

    def train_dataloader(self) -> Any:
        """Return practically endless batches."""
        batches: Any = [self.batch] * 1_000_000
        return DataLoader(batches, batch_size=None)

    def advance(self, batch: Any) -> None:
        """No-op: all batches are the same."""


class OverError(Exception):
    """Ends the training when no more steps are requested."""


class Training(L.Callback):
    """Executes a training step by step, and stores the losses and gradients of the last step."""

    def __init__(self) -> None:
        self.wanted, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.over = self.ended = False
        self.losses: dict[str, Tensor] = {}
        self.gradients: dict[str, list[Tensor]] = {}

    def step(self) -> None:
        """Execute one training step.

        Raises:
            BenchError: the training has ended with an error, which is the cause.
        """
        self.wanted.release()
        self.done.acquire()
        if self.ended:
            raise BenchError("the training ended with an error")

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        """Wait until a step is requested."""
        self.wanted.acquire()
        if self.over:
            raise OverError

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        """Keep a reference to the gradients, without reading them."""
        first = optimizer.param_groups[0]["params"][0]
        for name, network in pl_module.networks().items():
            parameters = list(network.parameters())
            if parameters[0] is first:
                self.gradients[name] = [p.grad for p in parameters]

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        """Signal that the step is complete."""
        self.losses = {name: trainer.callback_metrics[f"train/{name}"] for name in pl_module.networks()}
        self.done.release()


@contextmanager
def training(system: System, audio: Tensor) -> Iterator[Training]:
    """Train a system in a thread on the same audio `(batch, 1, time)`, one step per request."""
    steps = Training()
    quieten()
    trainer = L.Trainer(
        max_steps=-1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator=audio.device.type, devices=1, callbacks=[steps],
    )  # fmt: skip

    def fit() -> None:
        try:
            trainer.fit(system, datamodule=OneBatch(audio, system.preset.sample_rate))
        except OverError:
            pass
        finally:
            steps.ended = True
            steps.done.release()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(fit)
        try:
            yield steps
        except BenchError as error:
            raise error from (running.exception() if running.done() else None)
        finally:
            steps.over = True
            steps.wanted.release()
