"""`ostinato evaluate`: many metrics of what a run makes of the held-out clips, kept for comparison."""

from typing import TYPE_CHECKING, Any

from framework.workflow.command import ExperimentCommand, split_argument

if TYPE_CHECKING:
    from framework.workflow.plan import Plan


class Evaluate(ExperimentCommand):
    """Generate the held-out clips with a trained run, measure them with many metrics, and print a table with confidence
    intervals. Audio and values are stored in the run's folder, where `ostinato compare` finds them.
    """

    group = "evaluation"
    summary = "many metrics on the held-out clips, stored for comparison"
    examples = (
        "ostinato evaluate {name} --data recordings/",
        "ostinato evaluate {name} --clips 4 --metrics stft_distance log_mel_error",
    )

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        split_argument(parser)
        clips = "Number of clips; by default all test clips, or as many as in validation."
        parser.add_argument("--clips", type=int | None, default=None, help=clips)
        parser.add_argument(
            "--metrics", type=str, nargs="+", default=[], help="Names of metrics; by default all of them."
        )
        parser.add_argument(
            "--embedder",
            type=str | None,
            default=None,
            help="Embedding of the Frechet and kernel distances: musicnn, crepe, basic_pitch, or an import path; by "
            "default log-mel statistics.",
        )
        parser.add_argument("--name", type=str | None, default=None, help="Name of the evaluation's folder.")
        parser.add_argument(
            "--meta",
            action="store_true",
            help="Evaluate the metrics instead of the run: how they follow graded degradations of the held-out clips.",
        )

    def run(self, plan: "Plan", settings: Any) -> None:
        """Evaluate, and print a table.

        Raises:
            EvaluationError: some generated clips are not finite; the evaluation of the other clips is stored.
        """
        from framework.evaluation.evaluation import EvaluationError
        from framework.evaluation.meta import meta_table
        from framework.evaluation.table import evaluation_table
        from framework.runs.provenance import few
        from framework.workflow.evaluations import measured, meta_evaluation, opened_evaluation
        from framework.workflow.trained import load_trained

        if settings["meta"]:
            print(meta_table(meta_evaluation(plan, settings["split"], settings["clips"], settings["metrics"])))
            return
        trained = load_trained(plan)
        plan.prepare_data()
        opened = opened_evaluation(trained, settings["split"], settings["name"])
        found = measured(opened, settings["clips"], settings["metrics"], settings["embedder"])
        print(f"{found.checkpoint or plan.experiment.__name__}, step {found.step}")
        print(evaluation_table(found))
        beside = ", griffin_lim.wav" if trained.system.reconstructs_input else ""
        print(f"listen:  {found.folder}/audio/ (a folder a clip: truth.wav, generated.wav{beside})")
        print(f"numbers: {found.folder}/values.json")
        if clips := found.notes.get("audio"):
            raise EvaluationError(
                f"{len(clips)} of {len(found.clips)} clips have NaN or infinite samples, which are not written as "
                f"audio: {few(list(clips))}; train again with a lower learning rate, or evaluate an earlier checkpoint"
            )
