"""A trained system that a command line means: by experiment and values, by run folder, by checkpoint or by release."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.runs.finding import RunNotFoundError
from framework.runs.stored_files import DamagedFileError
from framework.workflow.experiment import ExperimentCLI, open_experiment
from framework.workflow.parser import UsageError
from framework.workflow.runs import Run, find_run, run_named, step_of
from framework.workflow.weights import load_into


@dataclass(frozen=True)
class Trained:
    """A system with its weights, on the CPU and in evaluation.

    Args:
        cli: System and data, which need not be there.
        path: Of its checkpoint; None for a system that has no weights.
        step: Training step of the checkpoint; 0 where it is not known.
        run: The run that the checkpoint is of; None for one from elsewhere, which `--ckpt_path` names.
    """

    cli: ExperimentCLI
    path: Path | None
    step: int
    run: Run | None

    @property
    def name(self) -> str:
        """Last part of the experiment's name."""
        return self.cli.name

    @property
    def source(self) -> str:
        """What the weights are from, as it is printed."""
        if self.path is None:
            return f"{self.cli.experiment.__name__} (no weights)"
        return f"{self.path}, step {self.step}" if step_of(self.path) is not None else str(self.path)

    @property
    def has_own_data(self) -> bool:
        """Whether the data, which have to be prepared, are those that the run was trained on, as far as is known."""
        return not self.identity or self.cli.datamodule.fingerprint() == self.identity["data"]["manifest"]

    def warn_of_data(self) -> None:
        """Print a warning where the data, which have to be prepared, are not those that the run was trained on."""
        is_meant = self.cli.run is not None and self.cli.has_other_data
        if not is_meant and not self.has_own_data:
            print(f"warning: {self.path} was trained on other data than these", file=sys.stderr)

    @property
    def identity(self) -> dict[str, Any] | None:
        """Identity of the run that the checkpoint is of; None where it is not known."""
        run = self.run
        if run is None and self.path is not None and self.path.suffix == ".ckpt":
            try:
                run = run_named(self.path)
            except (RunNotFoundError, DamagedFileError):
                run = None
        return (run.identity if run else None) or None


def open_trained(
    command: str,
    arguments: list[str],
    check: Callable[[ExperimentCLI], None] | None = None,
    with_data: bool = False,
) -> Trained:
    """Return what a command line means.

    Args:
        command: Name of the command.
        arguments: Those behind it.
        check: Raises where the command has no use for a system, before its weights are looked for.
        with_data: Whether the command needs the data: they are prepared once it is known that there is such a run.

    Raises:
        UsageError: an override is wrong.
        RunError: there is no such run, or its values are others.
    """
    cli = open_experiment(command, arguments)
    if check:
        check(cli)
    found = loaded(cli)
    if with_data:
        cli.prepare_data()
    return found


def loaded(cli: ExperimentCLI) -> Trained:
    """Load the weights that a command line means into its system.

    Raises:
        RunError: there is no such run, or its values are others.
        CheckpointError: the file that `--ckpt_path` names is no checkpoint of this system.
    """
    run, given = cli.run, cli.config["ckpt_path"]
    if run is not None:
        run.check(cli.identity(manifest=""), data_too=False)
    elif cli.model.has_weights and not given:
        identity = cli.identity(manifest="")
        run = find_run(cli.model, cli.datamodule, identity, cli.config["runs"], cli.config.get("ckpt", "last"))
    path = None
    if cli.model.has_weights:
        path = run.checkpoint() if run else Path(given)
    step = load_into(cli.model, path) if path else 0
    cli.model.eval()
    return Trained(cli, path, step, run)


def check_weights(cli: ExperimentCLI) -> None:
    """Refuse systems that have none.

    Raises:
        UsageError: naming the command, which has nothing to do.
    """
    if not cli.model.has_weights:
        raise UsageError(f"{cli.experiment.__name__} has no weights: there is nothing to {cli.command}")
