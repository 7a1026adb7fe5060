"""`ostinato evaluate`: many metrics of what a run makes of the held-out clips, kept for comparison."""

from framework.evaluation.evaluation import EvaluationError
from framework.evaluation.meta import meta_table
from framework.evaluation.table import evaluation_table
from framework.runs.provenance import few
from framework.workflow.evaluations import measured, meta_evaluation, opened_evaluation
from framework.workflow.experiment import open_experiment
from framework.workflow.trained import load_trained


def run(arguments: list[str]) -> None:
    """Evaluate a run, a checkpoint of one, or the run that an experiment's name and values mean; print a table.

    Raises:
        EvaluationError: some of what was generated is not finite; the evaluation of the other clips is stored.
    """
    opened = open_experiment("evaluate", arguments)
    settings = opened.settings
    if settings["meta"]:
        print(meta_table(meta_evaluation(opened.plan, settings["split"], settings["clips"], settings["metrics"])))
        return
    trained = load_trained(opened.plan)
    trained.plan.prepare_data()
    subject = opened_evaluation(trained, settings["split"], settings["name"])
    found = measured(subject, settings["clips"], settings["metrics"], settings["embedder"])
    print(f"{found.checkpoint or trained.plan.experiment.__name__}, step {found.step}")
    print(evaluation_table(found))
    beside = ", griffin_lim.wav" if trained.system.reconstructs_input else ""
    print(f"listen:  {found.folder}/audio/ (a folder a clip: truth.wav, generated.wav{beside})")
    print(f"numbers: {found.folder}/values.json")
    if clips := found.notes.get("audio"):
        raise EvaluationError(
            f"{len(clips)} of {len(found.clips)} clips have NaN or infinite samples, which are not written as audio: "
            f"{few(list(clips))}; train again with a lower learning rate, or evaluate an earlier checkpoint"
        )
