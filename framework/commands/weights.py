"""Finding and loading the weights that a command line means."""

from pathlib import Path

from framework.commands.experiment import ExperimentCLI, UsageError
from framework.runs.checkpoints import newest_checkpoint, read_checkpoint


def load_weights(cli: ExperimentCLI) -> Path:
    """Load the checkpoint given, or the newest of the run that the command line describes; return its path.

    Raises:
        UsageError: when there is no such run, naming those there are.
        CheckpointError: when the file is no checkpoint of this system.
    """
    path = Path(cli.config["ckpt_path"]) if cli.config["ckpt_path"] else newest_checkpoint(cli.folder().checkpoints)
    if path is None:
        raise UsageError(
            f"no run of {cli.experiment.__name__} with these values: `ostinato fit` it first, or give "
            f"--ckpt_path ({', '.join(other_runs(cli)) or f'there is none under {cli.config['runs']}/'})"
        )
    checkpoint = read_checkpoint(path)
    if "state_dict" in checkpoint:
        cli.model.load_checkpoint(checkpoint, path)
    else:
        cli.model.load_official(checkpoint)
    return path


def other_runs(cli: ExperimentCLI) -> list[str]:
    """Return the newest checkpoints of the system's runs under other values."""
    runs = cli.folder().path.parent
    return sorted(str(path) for path in runs.glob("*/checkpoints/last.ckpt"))
