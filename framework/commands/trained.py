"""A trained system that a command line means: by experiment and values, by run folder, or by checkpoint."""

from collections.abc import Callable
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
        return self.cli.name


def open_trained(command: str, arguments: list[str], check: Callable[[ExperimentCLI], None] | None = None) -> Trained:
    """Return what a command line means, on the CPU and in evaluation.

    Args:
        command: Name of the command.
        arguments: Those behind it.
        check: Raises where the command has no use for a system, before its weights are looked for.

    Raises:
        UsageError: there is no such run.
    """
    if arguments and is_path(arguments[0]):
        stored = stored_run(arguments[0])
        cli, path = ExperimentCLI(command, stored.experiment(), arguments[1:]), stored.newest()
    else:
        stored, cli, path = None, open_experiment(command, arguments), Path()
    if check:
        check(cli)
    if stored:
        load_weights_of(read_checkpoint(path), cli.model, path)
    else:
        path = Path(load_weights(cli))
    cli.model.eval()
    try:
        config = RunFolder(path.parent.parent).stored_config() or {}
    except RunError:
        config = {}
    return Trained(cli, path, config.get("identity"))


def check_weights(cli: ExperimentCLI) -> None:
    """Refuse systems that have none.

    Raises:
        UsageError: naming the command, which has nothing to do.
    """
    if not cli.model.has_weights:
        raise UsageError(f"{cli.experiment.__name__} has no weights: there is nothing to {cli.command}")
