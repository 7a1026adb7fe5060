"""`ostinato export`: a vocoder as a program for other runtimes, checked against itself."""

from dataclasses import asdict
from pathlib import Path

from framework.commands.release import facts
from framework.export.exporting import export
from framework.export.formats import FORMATS
from framework.outputs import check_outputs, output_file
from framework.runs.checkpoints import read_checkpoint
from framework.workflow.experiment import ExperimentCLI
from framework.workflow.opened import check_weights, open_trained


def run(arguments: list[str]) -> None:
    """Write the generator of a trained system to `--output`, and say how like and how fast it is.

    Raises:
        OutputError: the output exists and `--overwrite` is not given, or it cannot be written.
    """
    trained = open_trained("export", arguments, check)
    assert trained.path is not None
    system, format = trained.cli.model, trained.cli.config["format"]
    path = target(trained.cli)
    known = facts(trained, read_checkpoint(trained.path)) | {"front_end": asdict(system.preset)}
    report = export(system, path, format, known)
    print(f"{path}: {report.bytes / 1e6:.2f} MB, of {trained.source}")
    like = f"differences up to {report.difference:.1e}, SNR at least {report.snr:.0f} dB"
    print(f"checked at three lengths: {like if report.difference else 'the same samples, bit for bit'}")
    print(f"seconds for a second of audio: {report.exported:.3g}, in PyTorch {report.eager:.3g}")


def check(cli: ExperimentCLI) -> None:
    """Refuse systems without weights, and outputs that cannot be written."""
    check_weights(cli)
    check_outputs([target(cli)], cli.config["overwrite"])


def target(cli: ExperimentCLI) -> Path:
    """Return the file to write."""
    suffix = FORMATS[cli.config["format"]].suffix
    return output_file(cli.config["output"] or ".", f"{cli.name}{suffix}", [suffix])
