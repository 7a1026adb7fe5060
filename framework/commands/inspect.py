"""`ostinato inspect`: pictures of the filters that the first layers of a trained run have learned."""

from framework.evaluation.filters import mel_spaced
from framework.workflow.experiment import open_experiment
from framework.workflow.inspection import explanation, inspect


def run(arguments: list[str]) -> None:
    """Draw the filters of each learned layer whose input is audio, and print where they lie."""
    opened = open_experiment("inspect", arguments)
    found = inspect(opened.plan, opened.settings["output"] or "", overwrite=opened.settings["overwrite"])
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
