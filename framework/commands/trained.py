"""A trained system that a command line means: by experiment and values, by run folder, or by checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.commands.experiment import ExperimentCLI, open_experiment
from framework.commands.parser import UsageError
from framework.commands.stored import is_path, stored_run
from framework.commands.weights import load_weights
from framework.runs.checkpoints import load_weights_of, read_checkpoint
from framework.runs.folder import RunError, RunFolder


@dataclass(frozen=True)
class Trained:
    """A system with its weights.

    Args:
        cli: System and data, which need not be there.
        path: Of its checkpoint.
        identity: Of the run that the checkpoint is of; None for one from elsewhere.
    """

    cli: ExperimentCLI
    path: Path
    identity: dict[str, Any] | None

    @property
    def name(self) -> str:
        """Last part of the experiment's name."""
        return self.cli.experiment.__module__.rpartition(".")[2]


def open_trained(command: str, arguments: list[str]) -> Trained:
    """Return what a command line means, on the CPU and in evaluation.

    Raises:
        UsageError: the system has no weights, or there is no such run.
    """
    if arguments and is_path(arguments[0]):
        stored = stored_run(arguments[0])
        cli, path = ExperimentCLI(command, stored.experiment(), arguments[1:]), stored.newest()
        load_weights_of(read_checkpoint(path), cli.model, path)
    else:
        cli = open_experiment(command, arguments)
        if not cli.model.has_weights:
            raise UsageError(f"{cli.experiment.__name__} has no weights: there is nothing to {command}")
        path = Path(load_weights(cli))
    cli.model.eval()
    try:
        config = RunFolder(path.parent.parent).stored_config() or {}
    except RunError:
        config = {}
    return Trained(cli, path, config.get("identity"))
