"""`ostinato export`: a vocoder as a program for other runtimes, checked against itself."""

from dataclasses import asdict
from pathlib import Path

from framework.commands.release import facts
from framework.commands.trained import check_weights, open_trained
from framework.export.exporting import export
from framework.export.formats import FORMATS
from framework.export.programs import ExportError
from framework.runs.checkpoints import read_checkpoint


def run(arguments: list[str]) -> None:
    """Write the judged generator of a trained system to `--output`, and say how like and how fast it is.

    Raises:
        ExportError: the file's name has another format's ending.
    """
    trained = open_trained("export", arguments, check_weights)
    system, format = trained.cli.model, trained.cli.config["format"]
    path = Path(trained.cli.config["output"] or f"{trained.name}{FORMATS[format].suffix}")
    if path.suffix != FORMATS[format].suffix:
        raise ExportError(f"{path}: a program of --format {format} is a {FORMATS[format].suffix} file: name it so")
    known = facts(trained, read_checkpoint(trained.path)) | {"front_end": asdict(system.preset)}
    report = export(system, path, format, known)
    print(f"{path}: {report.bytes / 1e6:.2f} MB, of {trained.path}")
    like = f"differences up to {report.difference:.1e}, SNR at least {report.snr:.0f} dB"
    print(f"checked at three lengths: {like if report.difference else 'the same samples, bit for bit'}")
    print(f"seconds for a second of audio: {report.exported:.3g}, in PyTorch {report.eager:.3g}")
