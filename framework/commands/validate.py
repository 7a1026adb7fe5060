"""`ostinato validate`: measure a run on the held-out clips, next to Griffin-Lim."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Validate(ExperimentCommand):
    """Generate the held-out clips with a trained run and print the mean distances to the originals, next to those of
    Griffin-Lim on the same clips.
    """

    group = "evaluation"
    summary = "distances of a run on the held-out clips, next to Griffin-Lim"
    examples = ("ostinato validate {name} --data recordings/",)

    def run(self, plan: "Plan", settings: Any) -> None:
        """Print the mean distances."""
        from framework.evaluation.validation import table
        from framework.workflow.trained import load_trained
        from framework.workflow.validating import validate

        trained = load_trained(plan)
        plan.prepare_data()
        print(trained.source)
        trained.warn_of_data()
        print(table(validate(trained)))
