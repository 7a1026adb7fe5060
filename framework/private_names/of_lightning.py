"""Private names of Lightning."""

from collections.abc import Sequence
from typing import Any

from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch.loops.evaluation_loop import RestartStage
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from torch import nn


def count_step(optimizer: Any) -> None:
    """Count a step of a `LightningOptimizer` that is not made, so that positions do not depend on skipped steps."""
    optimizer._on_before_step()
    optimizer._on_after_step()


def leave_signals_alone(trainer: Any) -> None:
    """Keep Lightning from handling signals: its SIGTERM waits for other ranks, exits with 0 and saves nothing.

    At every batch it also asks all ranks whether one has been told to stop, and waits for the answers.
    """
    trainer._signal_connector.register_signal_handlers = lambda: None
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None


def set_batches_begun(trainer: Any, count: int) -> None:
    """Set how many training batches have begun, which places validations; a resumed run counts one of them twice."""
    trainer.fit_loop.epoch_loop.batch_progress.total.ready = count


def begin_with_validation(trainer: Any) -> None:
    """Let a resumed training begin with the validation that was not completed."""
    trainer.fit_loop.epoch_loop.val_loop._restart_stage = RestartStage.RESTARTED_MID_EVALUATION


class RankLauncherBase(_SubprocessScriptLauncher):
    """Lightning's launcher of the other ranks, which starts this program again for each of them."""

    def start_ranks(self) -> Sequence[Any]:
        """Start the other ranks and return their processes."""
        self._call_children_scripts()
        return self.procs

    def limit_threads(self) -> None:
        """Set the number of threads that each rank computes with, as Lightning's launcher does."""
        _set_num_threads_if_needed(num_processes=self.num_processes)


def default_launcher(trainer: Any) -> Any:
    """Return the Trainer's launcher if it is the one that starts ranks as this program; None otherwise."""
    launcher = trainer.strategy.launcher
    return launcher if type(launcher) is _SubprocessScriptLauncher else None


def set_launcher(trainer: Any, launcher: Any) -> None:
    """Set what starts the other ranks of a Trainer."""
    trainer.strategy._launcher = launcher


class UnwrappedDDPStrategy(DDPStrategy):
    """Data parallelism that does not wrap the module in DistributedDataParallel."""

    def _setup_model(self, model: nn.Module) -> nn.Module:  # type: ignore[override]
        return model

    def configure_ddp(self) -> None:
        """No-op: the module is not wrapped."""
