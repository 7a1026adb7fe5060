"""`ostinato validate`: measure a run on the held-out clips, beside Griffin-Lim."""

from framework.evaluation.validation import table, validate
from framework.workflow.opened import open_trained


def run(arguments: list[str]) -> None:
    """Print the mean distances of a run, or of the checkpoint given, on the held-out clips."""
    trained = open_trained("validate", arguments, with_data=True)
    print(trained.source)
    trained.warn_of_data()
    print(table(validate(trained.cli.model, trained.cli.datamodule.val_dataloader())))
