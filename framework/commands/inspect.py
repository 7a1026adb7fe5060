"""`ostinato inspect`: what the first layers of a trained network have learnt to hear."""

from pathlib import Path

from framework.audio.files import safe_name
from framework.commands.experiment import ExperimentCLI, open_experiment
from framework.commands.parser import UsageError
from framework.commands.show import example
from framework.commands.weights import load_weights
from framework.evaluation.filters import FilterBank, filter_banks, mel_spaced
from framework.progress import busy, progress
from framework.runs.checkpoints import is_ours, read_checkpoint
from framework.runs.folder import RunFolder
from framework.runs.identity import family, signature
from framework.tracking.filters import filter_picture
from framework.tracking.wandb_log import wandb_logger
from framework.writing import check_outputs, output_folder, replacing


def run(arguments: list[str]) -> None:
    """Draw the filters of each learned layer that sees audio, into `--output` and, of a logged run, to W&B.

    Raises:
        UsageError: when there is no run, or no folder for the pictures of a checkpoint.
    """
    cli = open_experiment("inspect", arguments)
    given, output = cli.config["ckpt_path"], cli.config["output"]
    if given and not output:
        raise UsageError("say by --output where the pictures of this checkpoint go")
    if output:
        check_outputs([output_folder(output) / "pictures"])
    with busy("preparing the data"):
        cli.datamodule.prepare_data()
    source = load_weights(cli)
    print(source)
    banks = learnt(cli)
    if not banks:
        print(explanation(cli))
        return
    folder = None if given else cli.folder()
    if output:
        check_outputs(picture_files(banks, Path(output)), cli.config["overwrite"])
    pictures = draw(banks, Path(output) if output or folder is None else folder.path / "filters")
    if folder and list(folder.path.glob("wandb/*run-*")):
        log(cli, folder, pictures, read_checkpoint(source)["global_step"])


def learnt(cli: ExperimentCLI) -> list[FilterBank]:
    """Return the filters of the layers whose weights were loaded: official checkpoints hold the generator's alone."""
    if not cli.model.has_weights:
        return []
    given = cli.config["ckpt_path"]
    with busy("measuring filters"):
        banks = filter_banks(cli.model, lambda time: example(cli, time))
    everything = not given or is_ours(read_checkpoint(given))
    return [bank for bank in banks if everything or bank.name.startswith("generator.")]


def explanation(cli: ExperimentCLI) -> str:
    """Return why there is nothing to draw."""
    name = cli.experiment.__name__
    if not cli.model.has_weights:
        return f"{name} has learnt nothing: it has no weights"
    if cli.config["ckpt_path"] and filter_banks(cli.model, lambda time: example(cli, time)):
        return f"this official checkpoint holds the generator of {name} alone, of which no layer sees audio"
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


def log(cli: ExperimentCLI, folder: RunFolder, pictures: dict[str, Path], step: int) -> None:
    """Add the pictures to the run on W&B, at the step of its checkpoint."""
    identity = cli.identity()
    name = f"{cli.experiment.__module__.removeprefix('experiments.')} {signature(identity)[:4]}"
    logger = wandb_logger(folder.path, signature(identity), family(identity), name, folder.stored_config() or {})
    logger.log_files(pictures, step)
    logger.finish()
