"""`ostinato export`: a vocoder as a program for other runtimes, compared with PyTorch."""

from framework.workflow.experiment import open_experiment
from framework.workflow.exporting import export


def run(arguments: list[str]) -> None:
    """Write the generator of a trained system to `--output`, and print how its outputs and its speed compare."""
    opened = open_experiment("export", arguments)
    settings = opened.settings
    done = export(opened.plan, settings["format"], settings["output"] or "", overwrite=settings["overwrite"])
    report = done.report
    print(f"{done.path}: {report.bytes / 1e6:.2f} MB, of {done.trained.source}")
    like = f"differences up to {report.difference:.1e}, SNR at least {report.snr:.0f} dB"
    print(f"checked at three lengths: {like if report.difference else 'the same samples, bit for bit'}")
    print(f"seconds for a second of audio: {report.exported:.3g}, in PyTorch {report.eager:.3g}")
