"""Releasing a trained system as one small file, to be used without Lightning."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from framework.export import release as writing
from framework.outputs import check_outputs, output_file
from framework.progress import busy
from framework.runs.checkpoints import is_ours, read_checkpoint
from framework.runs.identity import family, signature
from framework.runs.released import SUFFIX, ReleaseError
from framework.workflow.trained import Trained, check_weights, load_trained, planned


@dataclass(frozen=True)
class Released:
    """A system that was released.

    Args:
        path: The file.
        trained: The system.
    """

    path: Path
    trained: Trained


def release(
    run: Any,
    output: str | Path = "",
    *,
    ckpt: str | int | None = None,
    for_training: bool = False,
    overwrite: bool = False,
) -> Released:
    """Write the generator of a run as one file, which `ostinato.load` opens.

    Args:
        run: A run, the path of one or of a checkpoint, a plan, or the name of an experiment.
        output: The .safetensors file, or a folder for it; by default `NAME.safetensors` in the working directory.
        ckpt: Checkpoint of the run: `last`, `best` or a step.
        for_training: Whether to add what is needed to train further: all networks and the states of the optimisers.
        overwrite: Whether to replace a file that exists.

    Raises:
        InvalidValueError: the system has no weights.
        OutputError: the output exists, or it cannot be written.
        RunError: there is no such run.
        ReleaseError: the checkpoint does not hold what is needed to train further.
    """
    plan = planned(run)
    check_weights(plan, "release")
    path = output_file(str(output) or ".", f"{plan.name}{SUFFIX}", [SUFFIX])
    size = sum(value.nbytes for value in plan.system.network.state_dict().values())
    check_outputs([path], overwrite, size=size)
    trained = load_trained(plan, ckpt)
    assert trained.path is not None
    checkpoint = read_checkpoint(trained.path)
    if for_training and not is_ours(checkpoint):
        raise ReleaseError(f"{trained.path} has no discriminators and optimisers: release a run's own checkpoint")
    with busy(f"writing {path}"):
        writing.release(trained.system, path, facts(trained, checkpoint), checkpoint if for_training else None)
    return Released(path, trained)


def facts(trained: Trained, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the origin of a trained system: experiment, step, run and data."""
    if "header" in checkpoint:
        names = ("experiment", "step", "checkpoint", "run", "family", "data")
        return {name: checkpoint["header"].get(name) for name in names}
    experiment, identity = trained.plan.experiment, trained.identity
    known: dict[str, Any] = {
        "experiment": f"{experiment.__module__}:{experiment.__qualname__}",
        "step": trained.step,
        "checkpoint": trained.path and trained.path.name,
        "run": identity and signature(identity),
        "family": identity and family(identity),
        "data": None,
    }
    if identity:
        data = {"class": identity["data"]["class"], "manifest": identity["data"]["manifest"]}
        known["data"] = data | {"licence": licence(trained.data, data["manifest"])}
    return known


def licence(data: Any, manifest: str) -> str | None:
    """Return the licence of data with this manifest; None if they are not there, or were packed without one."""
    try:
        if data.fingerprint() != manifest:
            return None
        return "; ".join(sorted(data.licences)) or None
    except (ValueError, OSError):
        return None
