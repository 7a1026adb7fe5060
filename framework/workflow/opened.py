"""A trained system that a command line means: by experiment and values, by run folder, by checkpoint or by release."""

from collections.abc import Callable
from dataclasses import dataclass

from framework.workflow import trained
from framework.workflow.experiment import ExperimentCLI, open_experiment
from framework.workflow.parser import UsageError


@dataclass(frozen=True)
class Trained(trained.Trained):
    """A system with its weights.

    Args:
        cli: The command line.
    """

    cli: ExperimentCLI


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
    weights = cli.config["ckpt_path"] if cli.run is None else ""
    found = trained.load_trained(cli.plan, None if cli.run else cli.config.get("ckpt", "last"), weights or "")
    return Trained(**vars(found), cli=cli)


def check_weights(cli: ExperimentCLI) -> None:
    """Refuse systems that have none.

    Raises:
        UsageError: naming the command, which has nothing to do.
    """
    if not cli.model.has_weights:
        raise UsageError(f"{cli.experiment.__name__} has no weights: there is nothing to {cli.command}")
