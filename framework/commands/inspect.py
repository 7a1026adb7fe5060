"""`ostinato inspect`: pictures of the filters that the first layers of a trained run have learned."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand, output_argument

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Inspect(ExperimentCommand):
    """Draw the filters that the layers of a trained run have learned whose input is audio."""

    group = "evaluation"
    summary = "pictures of the filters of a run's first layers"
    examples = ("ostinato inspect {name} --output filters/",)

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        output_argument(parser, "Folder for the pictures.", type=str | None, default=None)

    def run(self, plan: "Plan", settings: Any) -> None:
        """Draw the filters, and print where they lie."""
        from framework.evaluation.filters import mel_spaced
        from framework.workflow.inspection import explanation, inspect

        found = inspect(plan, settings["output"] or "", overwrite=settings["overwrite"])
        print(found.trained.source)
        if not found.banks:
            print(explanation(found.trained))
            return
        print(f"  {'layer':56}{'filters':>9}{'samples':>9}{'rate (Hz)':>11}{'median peak':>13}{'on the mel scale':>18}")
        for bank in found.banks:
            filters, taps = bank.kernels.shape
            median, mel = bank.peaks.median(), mel_spaced(filters, bank.sample_rate).median()
            print(f"  {bank.name:56}{filters:9}{taps:9}{bank.sample_rate:11,.0f}{median:10,.0f} Hz{mel:15,.0f} Hz")
        print(f"{len(found.pictures)} pictures in {found.folder}/")
