"""Training a run in its folder, with its guards: from the beginning, from where it was stopped, or not at all."""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning as L

from datamodules.one_clip import OneClip
from datamodules.streaming.bad_clips import BadClips
from datamodules.streaming.held_out import HeldOut, check_held_out
from framework.cache import clean_cache
from framework.catalogue import first_line, shown
from framework.errors import DEBUG, InvalidTypeError, InvalidValueError
from framework.evaluation.validation import table, validate
from framework.export.release import begin_from
from framework.interrupts import SIGNALS, on_interruption, received
from framework.quiet import quieten
from framework.runs.checkpoints import (
    LAST,
    Checkpoints,
    check_fits,
    is_ours,
    newest_checkpoint,
    read_checkpoint,
    reason_of,
)
from framework.runs.ending import UNFINISHED, planned_end, stopped_at
from framework.runs.finished import FINISHED
from framework.runs.folder import RunError, RunFolder
from framework.runs.guards import Watchdog
from framework.runs.provenance import change_since, few, sources_of
from framework.runs.ranks import end_with_first_process, use_rank_launcher
from framework.runs.resuming import of_this_run, started_from
from framework.runs.signals import StopSignals, requeue
from framework.runs.sources import hash_of
from framework.runs.stored_files import PARTS, DamagedFileError
from framework.strategies import check_devices, is_main_process, rank
from framework.workflow.plan import Plan, resolve
from framework.workflow.run import ReleasedRun, Run
from framework.workflow.runs import opened
from framework.workflow.trainer import (
    Prepare,
    TrainerError,
    finish,
    is_complaint_of_lightning,
    make_trainer,
    store_config,
)
from framework.writing import WriteError


def train(
    experiment: Any,
    overrides: Mapping[str, Any] | None = None,
    *,
    rerun: bool = False,
    profile: int | None = None,
    **settings: Any,
) -> Run:
    """Train a run, continue it where it was stopped, or report it if it is finished; return it.

    The same values lead to the same folder, with the same guards, as `ostinato fit` with them. Ctrl-C saves a
    checkpoint at the end of the step. In a script that trains on several devices, the processes of the further ones run
    the script too, and end with the training.

    Args:
        experiment: A plan; or what `resolve` takes: a name, a class, a run.
        overrides: As `resolve` takes them.
        rerun: Whether to train a finished run again; its folder is kept beside the new one.
        profile: Number of steps of which the time and memory are printed.
        settings: What else `resolve` takes: `data`, `runs`, `ckpt_path`, and values by their names.

    Raises:
        RunError: the run is being trained, or its checkpoints are lost.
        KeyboardInterrupt: the training was interrupted; the same call continues it.
    """
    if isinstance(experiment, Plan):
        if overrides or settings:
            raise InvalidTypeError("a plan has its values already: give overrides to `resolve`")
        # Its system may have been trained.
        plan = replace(experiment)
    else:
        plan = resolve(experiment, overrides, **settings)
    if isinstance(plan.run, ReleasedRun) and not plan.ckpt_path:
        plan = replace(plan, ckpt_path=str(plan.run.path))
    check_one_process(plan)
    quieten()
    check_plan(plan)
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        with Watchdog(plan.system.stall_minutes, "training") as watchdog:
            fit(plan, watchdog, rerun, profile)
    except SystemExit as error:
        # Lightning answers Ctrl-C before the first step with an exit.
        if error.code == 128 + signal.SIGINT or isinstance(error.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt(f"the same call continues the run in {plan.folder().path}") from None
        if error.code not in (None, 0, UNFINISHED):
            raise
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler)
    if not is_main_process():
        # The program continues in the first process alone.
        raise SystemExit(0)
    return opened(plan.folder())


def train_program(plan: Plan, rerun: bool = False, profile: int | None = None) -> int | None:
    """Train as a program that is nothing but this training: signals end it, and a batch system puts it back.

    Args:
        plan: The experiment with its overrides.
        rerun: As in `train`.
        profile: As in `train`.

    Returns:
        The exit status of a run that was stopped early; None for a finished one.

    Raises:
        RunError: the run is being trained, or its checkpoints are lost.
    """
    check_plan(plan)
    on_interruption("; the same command continues the run")
    with Watchdog(plan.system.stall_minutes, f"rank {rank()}") as watchdog:
        try:
            return fit(plan, watchdog, rerun, profile)
        except BaseException:
            if is_main_process():
                requeue(received())
            raise


def check_one_process(plan: Plan) -> None:
    """Refuse several devices where there is no program that a further process could run.

    Raises:
        InvalidValueError: naming the command that takes several.
    """
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is None and plan.trainer["devices"] not in (1, "1", "auto", [0]):
        raise InvalidValueError(
            f"trainer.devices = {plan.trainer['devices']}: each device needs a process of its own, which a notebook "
            f"cannot start: use `ostinato fit {plan.name}`, or one device"
        )


def check_plan(plan: Plan) -> None:
    """Refuse devices that are not there or cannot share a batch, before any process starts."""
    if plan.system.has_weights:
        check_devices(plan.trainer, plan.data.batch_size, plan.system.accumulate_grad_batches)


def fit(plan: Plan, watchdog: Watchdog, rerun: bool = False, profile: int | None = None) -> int | None:
    """Prepare the data, and train the run unless it is finished; return the exit status of one stopped early."""
    folder = plan.folder()
    sources = sources_of(plan.system, type(plan.data))
    if rerun:
        begin_anew(folder, sources)
    try:
        finished = folder.summary(("steps", "minutes", "clips"))
    except DamagedFileError as error:
        finished = None
        print(f"warning: {error}", file=sys.stderr)
    if finished is not None:
        repair(plan, folder, sources)
        print(f"{folder.path} is finished ({finished['steps']} steps); change a value to make another run\n")
        print(report(plan, folder, finished))
        if change := change_since(folder, sources):
            warning = f"these are results of other code ({change}): add --rerun to train it again"
            print(f"warning: {warning}", file=sys.stderr)
        return None
    if not is_main_process():
        end_with_first_process(folder.lock_file)
        train_run(plan, folder, sources, watchdog, profile)
        # The launcher takes another rank's status for a failure.
        return None
    clean_cache()
    with folder.locked():
        return train_run(plan, folder, sources, watchdog, profile)


def repair(plan: Plan, folder: RunFolder, sources: dict[str, str]) -> None:
    """Say which files of a finished run are damaged, and write its configuration again if that is one of them."""
    if not is_main_process():
        return
    for damage in folder.damages():
        print(f"warning: {damage}", file=sys.stderr)
    try:
        folder.stored_config(PARTS)
    except DamagedFileError:
        store_config(plan, folder, folder.sources() or sources)


def begin_anew(folder: RunFolder, sources: dict[str, str]) -> None:
    """Set a run aside that is finished, or was trained by other code.

    An unfinished run of the same code is continued: so the same command, interrupted, does not begin again and again.

    Raises:
        RunError: another process trains the run.
    """
    if is_main_process():
        if is_old(folder, sources):
            print(f"the earlier run is kept in {folder.set_aside()}")
        return
    deadline = time.monotonic() + 60
    while is_old(folder, sources):
        if time.monotonic() > deadline:
            raise RunError(f"{folder.path} was not set aside by the first process: see its messages")
        time.sleep(0.2)


def is_old(folder: RunFolder, sources: dict[str, str]) -> bool:
    """Return whether a run is finished, or was trained by other code than there is now as far as is known."""
    try:
        stored = folder.stored_config()
        return stored is not None and (
            folder.claimed_summary() is not None or stored["provenance"]["source"] != hash_of(sources)
        )
    except (RunError, ValueError, KeyError, TypeError):
        return True


def train_run(
    plan: Plan, folder: RunFolder, sources: dict[str, str], watchdog: Watchdog, profile: int | None = None
) -> int | None:
    """Train from the newest checkpoint of the run, from the given one, or from nothing; then measure and report.

    Return the exit status of a run that was stopped before its end.
    """
    checkpoint = newest_checkpoint(folder.checkpoints)
    if plan.system.has_weights and plan.trainer["max_steps"] == 0:
        raise TrainerError("trainer.max_steps = 0: a training makes at least 1 step; -1 sets no limit")
    if checkpoint is None and plan.system.has_weights:
        check_not_lost(folder)
    if checkpoint is None and not plan.overfit_one_clip:
        check_held_out(plan.data)
    announce(plan, folder, checkpoint, sources)
    data = OneClip(plan.data) if plan.overfit_one_clip else plan.data
    start, prepare = start_of(plan, data, checkpoint)
    trainer = make_trainer(plan, folder, sources, watchdog, prepare, profile)
    use_rank_launcher(trainer)
    began = time.monotonic()
    try:
        if plan.system.has_weights:
            trainer.fit(plan.system, datamodule=data, ckpt_path=start, weights_only=True)
        else:
            trainer.validate(plan.system, datamodule=data, verbose=False)
    except Exception as error:
        if is_complaint_of_lightning(error):
            raise TrainerError(f"Lightning: {' '.join(str(error).split())}") from error
        stopped = next((c.received for c in trainer.callbacks if isinstance(c, StopSignals)), None)  # type: ignore[attr-defined]
        if stopped is None or os.environ.get(DEBUG):
            raise
        # The signal may have reached a process that this one needs, as a batch system sends it to all at once.
        print(f"stopped before the end of the step ({reason_of(error)}): the same command continues the run")
        raise SystemExit(128 + stopped) from error
    finally:
        finish(trainer)
    if trainer.interrupted:
        raise RunError(f"stopped at step {trainer.global_step}: the same command continues the run")
    check_saved(trainer, folder)
    return conclude(plan, folder, trainer, data, began) if trainer.is_global_zero else None


def check_not_lost(folder: RunFolder) -> None:
    """Refuse to begin anew, in its own folder, a run that was finished and whose checkpoints are gone.

    Raises:
        RunError: saying what to do.
    """
    try:
        lost = folder.claimed_summary() is not None
    except DamagedFileError:
        return
    if lost:
        raise RunError(
            f"{folder.path} was finished and has lost its checkpoints: put {folder.checkpoints}/{LAST} back, or add "
            "--rerun, which keeps this folder and trains anew"
        )


def start_of(plan: Plan, data: Any, checkpoint: Path | None) -> tuple[Any, Prepare]:
    """Return the checkpoint that Lightning restores, and what is made of it before; None to begin with the weights.

    Args:
        plan: The experiment, which may name a checkpoint of another run, or weights alone: those are loaded.
        data: The data module that is trained on.
        checkpoint: The run's own newest one.

    Raises:
        CheckpointError: it is of another network.
        RunError: it has as many steps already as the run is to have.
    """
    start = checkpoint or plan.ckpt_path
    if not start:
        return None, dict
    weights = read_checkpoint(start)
    if not is_ours(weights):
        begin_from(plan.system, weights, start)
        return None, dict
    check_fits(weights, plan.system, start)
    return start, of_this_run if checkpoint else started_from(weights, start, data, plan.trainer)


def conclude(plan: Plan, folder: RunFolder, trainer: L.Trainer, data: Any, began: float) -> int | None:
    """Measure and report a run that has ended as planned; return the exit status of one that was stopped before.

    Raises:
        RunError: its last checkpoint cannot be read back, or its summary not be written.
    """
    end = planned_end(trainer) if plan.system.has_weights else "no weights"
    if not end:
        print(f"{stopped_at(trainer)}: the same command continues from there", file=sys.stderr)
        return UNFINISHED
    summary: dict[str, Any] = {"state": FINISHED, "ended_by": end, "steps": trainer.global_step}
    if plan.system.has_weights:
        size = folder.end(trainer.global_step)
        check_finite(plan.system, trainer.global_step)
        summary |= {"planned": trainer.max_steps, "checkpoint_bytes": size}
    summary |= {"minutes": round((time.monotonic() - began) / 60, 1), "bad_clips": data.bad_clip_counts()}
    held_out = data.val_dataloader()
    summary |= {"clips": validate(plan.system, held_out, folder.audio)}
    summary |= {"lost_held_out": held_out.bad.found if isinstance(held_out, HeldOut) else {}}
    print(report(plan, folder, summary))
    try:
        folder.write_summary(summary)
    except WriteError as error:
        raise RunError(f"{error}; the run is not finished before the same command has written it") from error
    return None


def check_finite(system: Any, step: int) -> None:
    """Refuse to take a run for finished that has diverged.

    Raises:
        RunError: weights are NaN or infinite.
    """
    lost = [name for name, value in system.named_parameters() if not value.isfinite().all()]
    if lost:
        raise RunError(
            f"the training has diverged: at step {step}, {len(lost)} parameters hold NaN or infinite numbers "
            f"({few(lost)}); lower --model.learning_rate"
        )


def check_saved(trainer: L.Trainer, folder: RunFolder) -> None:
    """Refuse to take a run for finished whose last checkpoint could not be written.

    Raises:
        RunError: naming the checkpoint and what to do.
    """
    if any(isinstance(callback, Checkpoints) and callback.failed for callback in trainer.callbacks):  # type: ignore[attr-defined]
        raise RunError(
            f"{folder.checkpoints / LAST} could not be written at step {trainer.global_step}, the last one: "
            "make room, and the same command goes on from the checkpoint before"
        )


def announce(plan: Plan, folder: RunFolder, checkpoint: Any, sources: dict[str, str]) -> None:
    """Print what runs where, and from which checkpoint it continues; ask when the code has changed since.

    Raises:
        RunError: when the answer is no.
    """
    if not is_main_process():
        return
    print(f"{first_line(plan.experiment) or plan.experiment.__name__}\nrun folder: {folder.path}")
    for what, (old, new) in type(plan.system).variant(**dict(plan.system.hparams)).changes().items():
        print(f"  {what}: {shown(old)} -> {shown(new)}")
    if checkpoint is None:
        return
    try:
        folder.stored_config()
    except RunError as error:
        print(f"warning: {error}; whether the source code has changed since this run began is not known")
    print(f"continuing from {checkpoint.name}")
    if change := change_since(folder, sources):
        print(f"warning: the code has changed since this run began: {change}")
        if is_terminal() and input("continue with the changed code? [y/N] ").strip().lower() != "y":
            raise RunError(
                f"{folder.path} is left as it is: use the earlier commit, or add --rerun, which keeps this folder and "
                "trains anew"
            )


def is_terminal() -> bool:
    """Say whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def report(plan: Plan, folder: RunFolder, summary: dict[str, Any]) -> str:
    """Return the final summary: distances beside Griffin-Lim's, and where to listen."""
    lost = BadClips(0, 0.0, summary.get("lost_held_out")).lost_held_out
    return (
        f"\n{type(plan.system).__name__}, {summary['steps']} steps, {summary['minutes']} minutes this time\n"
        f"{table(summary['clips'])}\n"
        f"{lost}{chr(10) if lost else ''}"
        f"listen:  {folder.audio}/ (a folder a clip: truth.wav, step_*.wav, griffin_lim.wav, pictures beside them)\n"
        f"numbers: {folder.path}/metrics.csv and summary.json\n"
    )
