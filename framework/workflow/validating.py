"""Measuring a run on the held-out clips, next to Griffin-Lim."""

from typing import Any

from framework.evaluation import validation
from framework.workflow.trained import open_trained


def validate(run: Any, *, ckpt: str | int | None = None, data: Any = None) -> dict[str, Any]:
    """Generate the held-out clips with a run and return their distances to the originals, by clip.

    Args:
        run: A run, the path of one, of a checkpoint or of a release; a plan, the name of an experiment, or a trained
            system.
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        data: Other data than the run's own.

    Raises:
        RunError: there is no such run.
    """
    trained = open_trained(run, ckpt, data=data)
    trained.plan.prepare_data()
    return validation.validate(trained.system, trained.data.val_dataloader())
