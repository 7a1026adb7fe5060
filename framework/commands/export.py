"""`ostinato export`: a vocoder as a program for other runtimes, compared with PyTorch."""

from typing import TYPE_CHECKING, Any, Literal

from framework.workflow.command import ExperimentCommand, output_argument

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Export(ExperimentCommand):
    """Export a trained vocoder to ONNX or torch.export, compare the outputs of the program with those of PyTorch at
    three lengths, and measure its speed.
    """

    group = "sharing"
    summary = "export a vocoder to ONNX or torch.export"
    examples = ("ostinato export {name} --format onnx",)

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument("--format", type=Literal["onnx", "torch"], required=True, help="Format of the program.")
        text = "The file to write, or a folder for it (default: NAME.onnx or NAME.pt2)."
        output_argument(parser, text, type=str | None, default=None)

    def run(self, plan: "Plan", settings: Any) -> None:
        """Write the program, and print how its outputs and its speed compare."""
        from framework.workflow.exporting import export

        done = export(plan, settings["format"], settings["output"] or "", overwrite=settings["overwrite"])
        report = done.report
        print(f"{done.path}: {report.bytes / 1e6:.2f} MB, of {done.trained.source}")
        like = f"differences up to {report.difference:.1e}, SNR at least {report.snr:.0f} dB"
        print(f"checked at three lengths: {like if report.difference else 'the same samples, bit for bit'}")
        print(f"seconds for a second of audio: {report.exported:.3g}, in PyTorch {report.eager:.3g}")
