"""`ostinato fit`: train an experiment, or continue the run that the same command began."""

from framework.interrupts import on_interruption, received
from framework.runs.guards import Watchdog
from framework.runs.ranks import end_with_starter
from framework.runs.signals import requeue
from framework.strategies import is_main_process, rank
from framework.workflow.experiment import open_experiment
from framework.workflow.training import check_plan, fit
from framework.writing import keep_output_from_failing


def run(arguments: list[str]) -> int | None:
    """Train; a finished run is reported and not repeated. Return the exit status of a run that was stopped early.

    Raises:
        RunError: the run is being trained, or its checkpoints are lost.
    """
    keep_output_from_failing()
    end_with_starter()
    opened = open_experiment("fit", arguments)
    plan, settings = opened.plan, opened.settings
    check_plan(plan)
    on_interruption("; the same command continues the run")
    with Watchdog(plan.system.stall_minutes, f"rank {rank()}") as watchdog:
        try:
            return fit(plan, watchdog, settings["rerun"], settings["profile"])
        except BaseException:
            if is_main_process():
                requeue(received())
            raise
