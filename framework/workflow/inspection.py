"""Pictures of the filters that the first layers of a trained run have learned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.audio.files import safe_name
from framework.errors import InvalidValueError
from framework.evaluation.filters import FilterBank, filter_banks
from framework.outputs import check_outputs, output_folder
from framework.progress import busy, progress
from framework.runs.checkpoints import is_ours, read_checkpoint
from framework.runs.identity import family
from framework.tracking.filters import filter_picture
from framework.tracking.wandb_log import wandb_logger
from framework.workflow.measures import example
from framework.workflow.run import ReleasedRun, Run
from framework.workflow.trained import Trained, load_trained, planned
from framework.writing import replacing


@dataclass(frozen=True)
class Inspection:
    """The filters of a trained system.

    Args:
        trained: The system.
        banks: The filters of each layer that were drawn.
        pictures: The pictures by their names on W&B, in the order of the layers.
        folder: Folder of the pictures.
    """

    trained: Trained
    banks: list[FilterBank]
    pictures: dict[str, Path]
    folder: Path


def inspect(run: Any, output: str | Path = "", *, ckpt: str | int | None = None, overwrite: bool = False) -> Inspection:
    """Draw the filters of each layer whose input is audio. A run that was logged to W&B gets the pictures there too.

    Args:
        run: A run, the path of one, of a checkpoint or of a release, a plan, or the name of an experiment.
        output: Folder for the pictures; by default `filters` in the run's folder.
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        overwrite: Whether to replace pictures that exist in the folder.

    Raises:
        InvalidValueError: no folder is named for the pictures of a file from elsewhere.
        OutputError: a picture exists, or cannot be written.
        RunError: there is no such run.
    """
    plan = planned(run)
    if not output and (plan.weights or isinstance(plan.run, ReleasedRun)):
        raise InvalidValueError("say by --output where the pictures of this checkpoint go")
    if output:
        check_outputs([output_folder(output) / "pictures"])
    trained = load_trained(plan, ckpt)
    plan.prepare_data()
    own = None if isinstance(trained.run, ReleasedRun) else trained.run
    folder = Path(output) if output or own is None else own.path / "filters"
    banks = learned(trained)
    if not banks:
        return Inspection(trained, banks, {}, folder)
    if output:
        check_outputs(picture_files(banks, folder), overwrite)
    pictures = draw(banks, folder)
    if own and list(own.path.glob("wandb/*run-*")):
        log(own, pictures, trained.step)
    return Inspection(trained, banks, pictures, folder)


def learned(trained: Trained) -> list[FilterBank]:
    """Return the filters of the layers whose weights were loaded: official checkpoints hold the generator's alone."""
    if trained.path is None:
        return []
    with busy("measuring filters"):
        banks = filter_banks(trained.system, lambda time: example(trained.plan, time))
    everything = is_ours(read_checkpoint(trained.path))
    return [bank for bank in banks if everything or bank.name.startswith("generator.")]


def explanation(trained: Trained) -> str:
    """Return why there is nothing to draw."""
    plan, name = trained.plan, trained.plan.experiment.__name__
    if trained.path is None:
        return f"{name} has learnt nothing: it has no weights"
    if not is_ours(read_checkpoint(trained.path)) and filter_banks(plan.system, lambda time: example(plan, time)):
        return f"this checkpoint holds the generator of {name} alone, of which no layer sees audio"
    return f"no learned layer of {name} sees audio: its networks are given features of it"


def picture_files(banks: list[FilterBank], folder: Path) -> list[Path]:
    """Return the files of the pictures of filters."""
    return [folder / f"{safe_name(bank.name)}.png" for bank in banks]


def draw(banks: list[FilterBank], folder: Path) -> dict[str, Path]:
    """Write a picture of each layer; return the pictures by their names on W&B."""
    pictures = {}
    files = picture_files(banks, folder)
    for bank, path in zip(progress(banks, "drawing filters", unit="layers"), files, strict=True):
        with replacing(path, durable=False) as part:
            filter_picture(bank).save(part, "png")
        pictures[f"filters/{bank.name}"] = path
    return pictures


def log(run: Run, pictures: dict[str, Path], step: int) -> None:
    """Add the pictures to the run on W&B, at the step of its checkpoint."""
    name = f"{run.config['experiment'].removeprefix('experiments.')} {run.signature[:4]}"
    run_id = run.config.get("wandb_id", run.signature)
    logger = wandb_logger(run.path, run_id, family(run.identity), name, run.config)
    logger.log_files(pictures, step)
    logger.finish()
