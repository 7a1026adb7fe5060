"""`ostinato fit`: train an experiment, or go on with the run that the same command began."""

import os
import time
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from datamodules.one_clip import OneClip
from framework.catalogue import shown
from framework.commands.experiment import ExperimentCLI, is_terminal, open_experiment
from framework.evaluation.judge import judge, table
from framework.runs.checkpoints import (
    AtomicCheckpointIO,
    Checkpoints,
    check_fits,
    is_ours,
    newest_checkpoint,
    read_checkpoint,
)
from framework.runs.folder import RunError, RunFolder
from framework.runs.guards import SkippedSteps, StallWatchdog
from framework.runs.identity import family, signature
from framework.runs.provenance import provenance
from framework.runs.releasing import begin_from
from framework.runs.signals import StopSignals
from framework.strategies import is_main_process, strategy
from framework.tracking.callbacks import AudioSamples, HeldOutDistances, StepCount, StepProgress, Throughput
from framework.tracking.csv_log import CSVLog
from framework.tracking.profile import StepProfile
from framework.tracking.wandb_log import WandbLog, wandb_logger


def run(arguments: list[str]) -> None:
    """Train; a finished run is reported and not repeated."""
    cli = open_experiment("fit", arguments)
    folder = cli.folder()
    finished = folder.summary()
    if finished is not None:
        print(f"{folder.path} is finished ({finished['steps']} steps); change a value to make another run\n")
        print(report(cli, folder, finished))
        return
    if not is_main_process():
        train(cli, folder)
        return
    with folder.locked():
        train(cli, folder)


def train(cli: ExperimentCLI, folder: RunFolder) -> None:
    """Train from the newest checkpoint of the run, from the given one, or from nothing; then measure and report."""
    checkpoint = newest_checkpoint(folder.checkpoints)
    announce(cli, folder, checkpoint)
    start = checkpoint or cli.config["ckpt_path"]
    if start and is_ours(weights := read_checkpoint(start)):
        check_fits(weights, cli.model, start)
    elif start:
        begin_from(cli.model, weights, start)
        start = None
    trainer = make_trainer(cli, folder)
    data = OneClip(cli.datamodule) if cli.config["overfit_one_clip"] else cli.datamodule
    began = time.monotonic()
    try:
        if cli.model.has_weights:
            trainer.fit(cli.model, datamodule=data, ckpt_path=start, weights_only=True)
        else:
            trainer.validate(cli.model, datamodule=data, verbose=False)
    finally:
        finish(trainer)
    if trainer.interrupted:
        raise RunError(f"stopped at step {trainer.global_step}: the same command goes on from there")
    if trainer.is_global_zero:
        summary: dict[str, Any] = {"steps": trainer.global_step, "minutes": round((time.monotonic() - began) / 60, 1)}
        summary["bad_clips"] = data.bad_clips.counts
        summary |= {"clips": judge(cli.model, data.val_dataloader(), folder.audio)}
        folder.write_summary(summary)
        print(report(cli, folder, summary))


def make_trainer(cli: ExperimentCLI, folder: RunFolder) -> L.Trainer:
    """Return Lightning's Trainer with the run's folder, loggers and callbacks."""
    arguments = cli.trainer_arguments
    arguments["strategy"] = strategy(arguments)
    profiled = cli.config["profile"]
    arguments["callbacks"] = [
        *(arguments["callbacks"] or []),
        *callbacks(folder, cli.model, arguments["val_check_interval"]),
        *([] if arguments["enable_progress_bar"] is False else [StepProgress()]),
        *([StepProfile(folder.path, profiled)] if profiled else []),
    ]
    fixed = {
        "default_root_dir": folder.path,
        "logger": loggers(cli, folder),
        "plugins": [AtomicCheckpointIO()],
        # The data module divides the batch over the ranks itself; validation is counted in steps, not in epochs.
        "use_distributed_sampler": False,
        "check_val_every_n_epoch": None,
        "num_sanity_val_steps": 0,
        "enable_checkpointing": False,
        "enable_model_summary": False,
    }
    return L.Trainer(**(arguments | fixed))


def callbacks(folder: RunFolder, system: Any, every: int) -> list[Callback]:
    """Return what a run does besides training: measuring, listening, saving, counting, stopping."""
    return [
        StepCount(),
        HeldOutDistances(),
        AudioSamples(folder.audio),
        Throughput(),
        SkippedSteps(system.skipped_limit),
        StallWatchdog(system.stall_minutes),
        Checkpoints(folder.checkpoints, every=every, monitor=system.monitor),
        StopSignals(),
    ]


def loggers(cli: ExperimentCLI, folder: RunFolder) -> list[Any]:
    """Return the local log and W&B's, and store the configuration (on rank zero)."""
    identity = cli.identity()
    config = {"experiment": cli.experiment.__module__, "identity": identity, **plain(cli.resolved())}
    config |= {"family": family(identity), "provenance": provenance(type(cli.model), type(cli.datamodule))}
    if not is_main_process():
        return []
    folder.write_config(config)
    # Importing W&B takes longer than the rest of a short run.
    if os.environ.get("WANDB_MODE") == "disabled":
        return [CSVLog(folder.path)]
    name = f"{cli.experiment.__module__.removeprefix('experiments.')} {signature(identity)[:4]}"
    return [CSVLog(folder.path), wandb_logger(folder.path, signature(identity), family(identity), name, config)]


def finish(trainer: L.Trainer) -> None:
    """Close W&B's run, which Lightning leaves open."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLog):
            logger.finish()


def announce(cli: ExperimentCLI, folder: RunFolder, checkpoint: Any) -> None:
    """Say what runs where, and from which checkpoint it goes on; ask when the source has changed since.

    Raises:
        RunError: when the answer is no.
    """
    if not is_main_process():
        return
    print(f"{cli.experiment.__doc__.strip().partition(chr(10))[0]}\nrun folder: {folder.path}")
    for what, (old, new) in type(cli.model).variant(**dict(cli.model.hparams)).changes().items():
        print(f"  {what}: {shown(old)} -> {shown(new)}")
    try:
        stored = folder.stored_config()
    except RunError as error:
        stored = None
        print(f"warning: {error}; whether the source code has changed since this run began is not known")
    if checkpoint and stored:
        print(f"continuing from {checkpoint.name}")
        before, now = stored["provenance"]["source"], provenance(type(cli.model), type(cli.datamodule))["source"]
        if before != now:
            print(
                f"warning: the source code has changed since this run began (commit {stored['provenance']['commit']})"
            )
            if is_terminal() and input("go on with the changed code? [y/N] ").strip().lower() != "y":
                raise RunError(
                    f"{folder.path} left as it is: use the earlier commit, or remove the folder to begin anew"
                )


def report(cli: ExperimentCLI, folder: RunFolder, summary: dict[str, Any]) -> str:
    """Return the final summary: distances beside Griffin-Lim's, and where to listen."""
    return (
        f"\n{type(cli.model).__name__}, {summary['steps']} steps, {summary['minutes']} minutes this time\n"
        f"{table(summary['clips'])}\n"
        f"listen:  {folder.audio}/ (a folder a clip: truth.wav, step_*.wav, griffin_lim.wav, pictures beside them)\n"
        f"numbers: {folder.path}/metrics.csv and summary.json\n"
    )


def plain(value: Any) -> Any:
    """Return a configuration as plain YAML types."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
