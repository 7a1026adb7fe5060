"""`ostinato validate`: measure a run on the held-out clips, next to Griffin-Lim."""

from framework.evaluation.validation import table
from framework.workflow.experiment import open_experiment
from framework.workflow.trained import load_trained
from framework.workflow.validating import validate


def run(arguments: list[str]) -> None:
    """Print the mean distances of a run, or of the checkpoint given, on the held-out clips."""
    trained = load_trained(open_experiment("validate", arguments).plan)
    trained.plan.prepare_data()
    print(trained.source)
    trained.warn_of_data()
    print(table(validate(trained)))
