"""Finding and loading the weights that a command line means."""

from pathlib import Path

from framework.commands.experiment import ExperimentCLI
from framework.commands.parser import UsageError
from framework.runs.checkpoints import is_ours, load_weights_of, newest_checkpoint, read_checkpoint
from framework.runs.importers import load_official
from framework.runs.releasing import load_judged


def load_weights(cli: ExperimentCLI) -> str:
    """Load the checkpoint given, or the newest of the run that the command line describes; return what it was.

    Raises:
        UsageError: when there is no such run, naming those there are.
        CheckpointError: when the file is no checkpoint of this system.
    """
    if not cli.model.has_weights:
        return f"{cli.experiment.__name__} (no weights)"
    path = Path(cli.config["ckpt_path"]) if cli.config["ckpt_path"] else newest_checkpoint(cli.folder().checkpoints)
    if path is None:
        others = ", ".join(other_runs(cli)) or f"there is none under {cli.config['runs']}/"
        raise UsageError(
            f"no run of {cli.experiment.__name__} with these values: `ostinato fit` it first, or give "
            f"the --ckpt_path of another ({others})"
        )
    checkpoint = read_checkpoint(path)
    if is_ours(checkpoint):
        load_weights_of(checkpoint, cli.model, path)
    elif "released" in checkpoint:
        load_judged(cli.model, checkpoint, path)
    else:
        load_official(cli.model.generator, path)
    return str(path)


def other_runs(cli: ExperimentCLI) -> list[str]:
    """Return the newest checkpoints of the system's runs under other values."""
    runs = cli.folder().path.parent
    return sorted(str(path) for path in runs.glob("*/checkpoints/last.ckpt"))
