"""A plan's system with trained weights: those of the run that its values stand for, or of a file."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lightning.pytorch import seed_everything

from framework.errors import InvalidTypeError, InvalidValueError
from framework.runs.finding import RunNotFoundError
from framework.runs.stored_files import DamagedFileError
from framework.workflow.plan import Plan, resolve
from framework.workflow.run import Run, step_of
from framework.workflow.runs import find_run, run_named
from framework.workflow.weights import load_into


def planned(run: Any, data: Any = None) -> Plan:
    """Return the plan of something that stands for a run; a plan as it is.

    Args:
        run: A plan; or what `resolve` takes: a run, the path of one, of a checkpoint or of a release, or the name of an
            experiment, which means the run with its values.
        data: Other data than the run's own.
    """
    if not isinstance(run, Plan):
        return resolve(run, data=data)
    if data is not None:
        raise InvalidTypeError("a plan has its data already: give them to `resolve`")
    # Its system may have been trained.
    return replace(run)


def open_trained(run: Any, ckpt: str | int | None = None, *, data: Any = None) -> "Trained":
    """Return a system with its weights, as everything that uses a trained system opens it.

    Args:
        run: As in `planned`; or a trained system, which is returned as it is.
        ckpt: Checkpoint of the run: `last`, `best` or a step; by default what it was opened with.
        data: Other data than the run's own.

    Raises:
        RunError: there is no such run, or its values are others.
        CheckpointError: the file with the weights is no checkpoint of this system.
    """
    return run if isinstance(run, Trained) else load_trained(planned(run, data), ckpt)


def check_weights(plan: Plan, what: str) -> None:
    """Refuse systems that have none.

    Args:
        plan: The plan.
        what: What would be done with the weights, a verb.

    Raises:
        InvalidValueError: there are none.
    """
    if not plan.system.has_weights:
        raise InvalidValueError(f"{plan.experiment.__name__} has no weights: there is nothing to {what}")


@dataclass(frozen=True)
class Trained:
    """A system with its weights, on the CPU and in evaluation.

    Args:
        plan: System and data, which need not be prepared.
        path: Of its checkpoint; None for a system that has no weights.
        step: Training step of the checkpoint; 0 where it is not known.
        run: The run that the checkpoint is of; None for a file from elsewhere.
    """

    plan: Plan
    path: Path | None
    step: int
    run: Run | None

    @property
    def system(self) -> Any:
        """The system."""
        return self.plan.system

    @property
    def data(self) -> Any:
        """Its data module."""
        return self.plan.data

    @property
    def name(self) -> str:
        """Last part of the experiment's name."""
        return self.plan.name

    @property
    def source(self) -> str:
        """What the weights are from, as it is printed."""
        if self.path is None:
            return f"{self.plan.experiment.__name__} (no weights)"
        return f"{self.path}, step {self.step}" if step_of(self.path) is not None else str(self.path)

    @property
    def has_own_data(self) -> bool:
        """Whether the data, which have to be prepared, are those that the run was trained on, as far as is known."""
        return not self.identity or self.data.fingerprint() == self.identity["data"]["manifest"]

    @property
    def identity(self) -> dict[str, Any] | None:
        """Identity of the run that the checkpoint is of; None where it is not known."""
        run = self.run
        if run is None and self.path is not None and self.path.suffix == ".ckpt":
            try:
                run = run_named(self.path)
            except (RunNotFoundError, DamagedFileError):
                run = None
        return (run.identity if run else None) or None

    def warn_of_data(self) -> None:
        """Print a warning where the data, which have to be prepared, are not those that the run was trained on."""
        is_meant = self.plan.run is not None and self.plan.has_other_data
        if not is_meant and not self.has_own_data:
            print(f"warning: {self.path} was trained on other data than these", file=sys.stderr)


def load_trained(plan: Plan, ckpt: str | int | None = None) -> Trained:
    """Load the weights of the run that a plan stands for, on whatever data, into the plan's system.

    The random numbers of what is generated then follow from the plan's seed.

    Args:
        plan: The plan; its data are not prepared.
        ckpt: `last`, `best` or a step of the run; by default what the plan, or its run, was opened with.

    Raises:
        RunError: there is no such run, or its values are others.
        CheckpointError: the file is no checkpoint of this system.
    """
    run = plan.run
    system = plan.system
    seed_everything(plan.seed, workers=True, verbose=False)
    if run is not None:
        if ckpt is not None:
            run = run.with_ckpt(ckpt)
        run.check(plan.identity(manifest=""), data_too=False)
    elif system.has_weights and not plan.weights:
        run = find_run(system, plan.data, plan.identity(manifest=""), plan.runs, plan.ckpt if ckpt is None else ckpt)
    path = None
    if system.has_weights:
        path = run.checkpoint() if run else Path(plan.weights)
    step = load_into(system, path) if path else 0
    system.eval()
    return Trained(plan, path, step, run)
