"""`ostinato fit`: train an experiment, or continue the run that the same command began."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Fit(ExperimentCommand):
    """Train an experiment. All values that can change the result determine the run's folder, so the same command
    resumes a run that was interrupted, and reports one that is finished. At the end, held-out clips are generated and
    their distances are printed next to those of Griffin-Lim.
    """

    group = "training"
    purpose = "train"
    loads = "framework.workflow.training"
    summary = "train; run the same command again to resume"
    examples = (
        "ostinato fit {name}",
        "ostinato fit {name} --data recordings/ --trainer.max_steps 20000 --trainer.devices 2",
    )

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument(
            "--rerun",
            action="store_true",
            help="Train again from the beginning; the earlier run's folder is kept next to the new one, with the date.",
        )
        parser.add_argument(
            "--profile",
            type=int | None,
            nargs="?",
            const=5,
            default=None,
            metavar="STEPS",
            help="Print where the time and memory of so many steps (5) go, and write trace.json.gz for Perfetto.",
        )

    def main(self, words: list[str]) -> int | None:
        """Prepare the process for a training, open the experiment and train."""
        self.load()
        from framework.runs.ranks import end_with_starter
        from framework.writing import keep_output_from_failing

        keep_output_from_failing()
        end_with_starter()
        return super().main(words)

    def run(self, plan: "Plan", settings: Any) -> int | None:
        """Train; return the exit status of a run that was stopped early."""
        from framework.workflow.training import train_program

        return train_program(plan, settings["rerun"], settings["profile"])
