"""Lightning's Trainer of a run: its folder, loggers and callbacks, and the configuration that is stored."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback, Checkpoint, ProgressBar
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from framework.errors import OstinatoError
from framework.runs.checkpoints import (
    AtomicCheckpointIO,
    Checkpoints,
)
from framework.runs.ending import StoppingRules, TimeLimit
from framework.runs.folder import RunError, RunFolder
from framework.runs.guards import Liveness, SkippedSteps, Watchdog
from framework.runs.identity import family, signature
from framework.runs.provenance import provenance
from framework.runs.signals import StopSignals
from framework.strategies import check_accelerator, is_main_process, strategy
from framework.tracking.callbacks import AudioSamples, StepCount, StepProgress, Throughput
from framework.tracking.csv_log import CSVLog
from framework.tracking.profile import StepProfile
from framework.tracking.wandb_log import WandbLog, wandb_logger
from framework.trainer_arguments import DEFAULTS, listed, settings_in_identity
from framework.workflow.plan import Plan, plain
from framework.writing import Tolerant


class TrainerError(OstinatoError, ValueError):
    """Lightning refuses its arguments."""


Prepare = Callable[[dict[str, Any]], dict[str, Any]]
"""What is made of a checkpoint that a training starts from."""


def make_trainer(
    plan: Plan,
    folder: RunFolder,
    sources: dict[str, str],
    watchdog: Watchdog,
    prepare: Prepare = dict,
    profile: int | None = None,
) -> L.Trainer:
    """Return Lightning's Trainer with the run's folder, loggers and callbacks.

    Raises:
        TrainerError: Lightning cannot be set up in this way.
    """
    arguments = dict(plan.trainer)
    own, every = listed(arguments["callbacks"]), plan.validation_interval
    has_bar = arguments["enable_progress_bar"] is False or any(isinstance(c, ProgressBar) for c in own)
    plugins = listed(arguments["plugins"])
    check_accelerator(arguments["accelerator"])
    if any(isinstance(plugin, CheckpointIO) for plugin in plugins):
        raise TrainerError("trainer.plugins: a run writes its checkpoints itself, and takes no other CheckpointIO")
    fixed = {
        "default_root_dir": folder.path,
        "strategy": strategy(arguments),
        "logger": [*loggers(plan, folder, sources), *listed(arguments["logger"])],
        "callbacks": [
            *own,
            *callbacks(folder, plan.system, every, watchdog),
            *([TimeLimit(arguments["max_time"])] if arguments["max_time"] else []),
            *([] if has_bar else [StepProgress()]),
            *([StepProfile(folder.path, profile)] if profile else []),
        ],
        "plugins": [*plugins, AtomicCheckpointIO(prepare)],
        "val_check_interval": every,
        "max_time": None,
        # Lightning adds a checkpoint callback of its own where there is none.
        "enable_checkpointing": any(isinstance(callback, Checkpoint) for callback in own),
    }
    try:
        return L.Trainer(**(arguments | fixed))
    except (MisconfigurationException, ValueError) as error:
        raise TrainerError(f"Lightning's Trainer: {' '.join(str(error).split())}") from error


def is_complaint_of_lightning(error: Exception) -> bool:
    """Say whether an error is about arguments of Lightning's Trainer, or of its callbacks, rather than about any code.

    It is where Lightning raises it without having called anything else: neither the project's code nor a user's.
    """
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    lightning = str(Path(L.__file__).parent)
    if any(not file.startswith(lightning) for file in files[1:]):
        return False
    return isinstance(error, (MisconfigurationException, ModuleNotFoundError)) or "callbacks" in Path(files[-1]).parts


def callbacks(folder: RunFolder, system: Any, every: int, watchdog: Watchdog) -> list[Callback]:
    """Return what a run does besides training: measuring, listening, saving, counting, stopping."""
    return [
        StepCount(),
        StoppingRules(),
        AudioSamples(folder.audio),
        Throughput(),
        SkippedSteps(system.skipped_limit),
        Liveness(watchdog),
        Checkpoints(folder.checkpoints, every=every, monitor=system.monitor),
        StopSignals(),
    ]


def store_config(plan: Plan, folder: RunFolder, sources: dict[str, str]) -> dict[str, Any]:
    """Store the resolved configuration of a run and the hashes of its source code; return the configuration."""
    identity = plan.identity()
    try:
        before = folder.stored_config() or {}
    except RunError:
        before = {}
    config = {"experiment": plan.experiment.__module__, "class": plan.experiment.__name__, "identity": identity}
    changes = before["changes"] if "changes" in before else plain(changes_of(plan))
    config |= plain(plan.resolved()) | {"monitor": type(plan.system).monitor, "changes": changes}
    config |= {"family": family(identity), "provenance": provenance(sources, before.get("provenance"))}
    config["wandb_id"] = before.get("wandb_id", wandb_id(folder, signature(identity)))
    with Tolerant("configurations"):
        folder.write_config(config)
        folder.write_sources(sources)
    return config


def changes_of(plan: Plan) -> dict[str, Any]:
    """Return the values of a run's identity that were given in place of the experiment's, by option."""
    experiment = plan.experiment
    parts = (("model", experiment, plan.system.resolved()), ("data", experiment.data, plan.data.resolved()))
    changes = {"data": plan.data.path} if plan.has_other_data else {}
    changes |= {
        f"{part}.{name}": value
        for part, cls, values in parts
        for name, value in values.items()
        if name in cls.hyperparameters and name != "seed" and value != cls.hyperparameters[name].default
    }
    trainer = settings_in_identity(plan.settings).items()
    return changes | {f"trainer.{n}": v for n, v in trainer if v != getattr(experiment, n, DEFAULTS.get(n))}


def loggers(plan: Plan, folder: RunFolder, sources: dict[str, str]) -> list[Any]:
    """Return the local log and W&B's, and store the configuration and the source code's hashes (on rank zero)."""
    if not is_main_process():
        return []
    config = store_config(plan, folder, sources)
    identity = config["identity"]
    # Importing W&B takes longer than the rest of a short run.
    if os.environ.get("WANDB_MODE") == "disabled":
        return [CSVLog(folder.path)]
    name = f"{plan.experiment.__module__.removeprefix('experiments.')} {signature(identity)[:4]}"
    return [CSVLog(folder.path), wandb_logger(folder.path, config["wandb_id"], family(identity), name, config)]


def wandb_id(folder: RunFolder, signature: str) -> str:
    """Return the id of the run on W&B: its signature, or another one where a run with that was set aside."""
    earlier = folder.earlier()
    return f"{signature}-{earlier[-1].name.partition('.')[2]}" if earlier else signature


def finish(trainer: L.Trainer) -> None:
    """Close W&B's run, which Lightning leaves open."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLog):
            logger.finish()
