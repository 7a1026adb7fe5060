"""`ostinato inspect`: what the first layers of a trained network have learnt to hear."""

from pathlib import Path

from framework.audio.files import safe_name
from framework.commands.show import example
from framework.evaluation.filters import FilterBank, filter_banks, mel_spaced
from framework.outputs import check_outputs, output_folder
from framework.progress import busy, progress
from framework.runs.checkpoints import is_ours, read_checkpoint
from framework.runs.identity import family
from framework.tracking.filters import filter_picture
from framework.tracking.wandb_log import wandb_logger
from framework.workflow.experiment import open_experiment
from framework.workflow.opened import Trained, loaded
from framework.workflow.parser import UsageError
from framework.workflow.runs import ReleasedRun, Run
from framework.writing import replacing


def run(arguments: list[str]) -> None:
    """Draw the filters of each learned layer that sees audio, into `--output` and, of a logged run, to W&B.

    Raises:
        UsageError: when there is no run, or no folder for the pictures of a checkpoint.
    """
    cli = open_experiment("inspect", arguments)
    output = cli.config["output"]
    if not output and (cli.config["ckpt_path"] or isinstance(cli.run, ReleasedRun)):
        raise UsageError("say by --output where the pictures of this checkpoint go")
    if output:
        check_outputs([output_folder(output) / "pictures"])
    trained = loaded(cli)
    cli.prepare_data()
    print(trained.source)
    banks = learnt(trained)
    if not banks:
        print(explanation(trained))
        return
    if output:
        check_outputs(picture_files(banks, Path(output)), cli.config["overwrite"])
    run = None if isinstance(trained.run, ReleasedRun) else trained.run
    pictures = draw(banks, Path(output) if output or run is None else run.path / "filters")
    if run and list(run.path.glob("wandb/*run-*")):
        log(run, pictures, trained.step)


def learnt(trained: Trained) -> list[FilterBank]:
    """Return the filters of the layers whose weights were loaded: official checkpoints hold the generator's alone."""
    if trained.path is None:
        return []
    with busy("measuring filters"):
        banks = filter_banks(trained.cli.model, lambda time: example(trained.cli, time))
    everything = is_ours(read_checkpoint(trained.path))
    return [bank for bank in banks if everything or bank.name.startswith("generator.")]


def explanation(trained: Trained) -> str:
    """Return why there is nothing to draw."""
    cli, name = trained.cli, trained.cli.experiment.__name__
    if trained.path is None:
        return f"{name} has learnt nothing: it has no weights"
    if not is_ours(read_checkpoint(trained.path)) and filter_banks(cli.model, lambda time: example(cli, time)):
        return f"this checkpoint holds the generator of {name} alone, of which no layer sees audio"
    return f"no learned layer of {name} sees audio: its networks are given features of it"


def picture_files(banks: list[FilterBank], folder: Path) -> list[Path]:
    """Return the files of the pictures of filters."""
    return [folder / f"{safe_name(bank.name)}.png" for bank in banks]


def draw(banks: list[FilterBank], folder: Path) -> dict[str, Path]:
    """Write a picture a layer and print where its filters lie; return the pictures by their names on W&B."""
    pictures = {}
    print(f"  {'layer':56}{'filters':>9}{'samples':>9}{'rate (Hz)':>11}{'median peak':>13}{'on the mel scale':>18}")
    files = picture_files(banks, folder)
    for bank, path in zip(progress(banks, "drawing filters", unit="layers"), files, strict=True):
        with replacing(path, durable=False) as part:
            filter_picture(bank).save(part, "png")
        pictures[f"filters/{bank.name}"] = path
        filters, taps = bank.kernels.shape
        median, mel = bank.peaks.median(), mel_spaced(filters, bank.sample_rate).median()
        print(f"  {bank.name:56}{filters:9}{taps:9}{bank.sample_rate:11,.0f}{median:10,.0f} Hz{mel:15,.0f} Hz")
    print(f"{len(pictures)} pictures in {folder}/")
    return pictures


def log(run: Run, pictures: dict[str, Path], step: int) -> None:
    """Add the pictures to the run on W&B, at the step of its checkpoint."""
    name = f"{run.config['experiment'].removeprefix('experiments.')} {run.signature[:4]}"
    run_id = run.config.get("wandb_id", run.signature)
    logger = wandb_logger(run.path, run_id, family(run.identity), name, run.config)
    logger.log_files(pictures, step)
    logger.finish()
