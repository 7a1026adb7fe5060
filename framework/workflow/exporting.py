"""Exporting a trained vocoder as a program for other runtimes, compared with PyTorch."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from framework.export import exporting
from framework.export.formats import FORMATS
from framework.outputs import check_outputs, output_file
from framework.runs.checkpoints import read_checkpoint
from framework.workflow.releasing import facts
from framework.workflow.trained import Trained, check_weights, load_trained, planned


@dataclass(frozen=True)
class Exported:
    """A vocoder that was exported.

    Args:
        path: The file.
        trained: The system.
        report: How the outputs and the speed of the program compare with those in PyTorch.
    """

    path: Path
    trained: Trained
    report: exporting.Report


def export(
    run: Any, format: str, output: str | Path = "", *, ckpt: str | int | None = None, overwrite: bool = False
) -> Exported:
    """Write the generator of a run as a program, and compare the program with PyTorch.

    Args:
        run: A run, the path of one, of a checkpoint or of a release, a plan, or the name of an experiment.
        format: `onnx` or `torch`.
        output: The file, or a folder for it; by default the experiment's name in the working directory.
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        overwrite: Whether to replace a file that exists.

    Raises:
        InvalidValueError: the system has no weights.
        OutputError: the output exists, or it cannot be written.
        RunError: there is no such run.
    """
    plan = planned(run)
    check_weights(plan, "export")
    suffix = FORMATS[format].suffix
    path = output_file(str(output) or ".", f"{plan.name}{suffix}", [suffix])
    check_outputs([path], overwrite)
    trained = load_trained(plan, ckpt)
    assert trained.path is not None
    known = facts(trained, read_checkpoint(trained.path)) | {"front_end": asdict(trained.system.preset)}
    return Exported(path, trained, exporting.export(trained.system, path, format, known))
