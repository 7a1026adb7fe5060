"""Preflight checks: everything that could end a long run early, before it begins."""

import itertools
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import lightning as L
import torch

from datamodules.streaming.held_out import check_held_out
from framework.errors import OstinatoError
from framework.evaluation.validation import validate
from framework.progress import busy, progress
from framework.strategies import check_devices
from framework.tracking.callbacks import StepProgress
from framework.tracking.wandb_log import wandb_mode
from framework.workflow.plan import Plan, resolve

CLIPS = 256
"""Training clips that are read."""
SMALL_BATCH = 2
"""Clips of the first steps on a CPU, from which the time of full ones is known."""
PATIENCE = 30.0
"""Seconds that full steps may take on a CPU; if they would take longer, their time is estimated from small ones."""
HELD_OUT_SECONDS = 2.0
"""Length of the held-out clip that is generated."""


class PreflightError(OstinatoError, ValueError):
    """A check has failed; the message names the remedy."""


class Check(NamedTuple):
    """What is checked, and the function that checks it and returns a line about it."""

    what: str
    run: Callable[[Plan], str]
    needs_data: bool = False


def devices(plan: Plan) -> str:
    """Say what trains, and whether the batch can be shared."""
    batch, parts = plan.data.batch_size, plan.system.accumulate_grad_batches
    count = check_devices(plan.trainer, batch, parts)
    names = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"{count} x {names}: {batch // count} clips each" + (f", in {parts} parts" if parts > 1 else "")


def data(plan: Plan) -> str:
    """Say how much there is."""
    module = plan.data
    module.prepare_data()
    check_held_out(module)
    return str(module.summary())


def batches(plan: Plan) -> str:
    """Read some, and look at the samples."""
    module, seen, silent, began = plan.data, 0, 0, time.perf_counter()
    number = -(-CLIPS // module.batch_size)
    for batch in progress(itertools.islice(module.train_dataloader(), number), "reading", number, "batches"):
        audio = plan.system.example(batch).float()
        if not torch.isfinite(audio).all():
            raise PreflightError(
                f"samples that are not finite in {', '.join(batch['key'])}: repair or remove these recordings"
            )
        silent += int((audio.abs().flatten(1).amax(1) < 1e-4).sum())
        seen += len(audio)
    module.teardown("fit")
    rate = seen / (time.perf_counter() - began)
    bad = sum(module.bad_clip_counts().values())
    if silent > seen / 2:
        raise PreflightError(
            f"{silent} of {seen} segments are silent: cut off silence by `ostinato pack SOURCE DESTINATION --trim 60`"
        )
    return f"{seen} segments at {rate:,.0f} a second, {silent} silent, {bad} bad clips"


def step(plan: Plan) -> str:
    """Take real steps and see that every network gets a finite gradient; say what they cost.

    On a CPU, where full steps can take minutes, small ones come first.
    """
    system, data = plan.system, plan.data
    if not system.has_weights:
        return "nothing to train"
    batch, small = data.batch_size, system.accumulate_grad_batches * -(-SMALL_BATCH // system.accumulate_grad_batches)
    on_gpu = torch.cuda.is_available() and plan.trainer["accelerator"] != "cpu"
    kept = {name: value.clone() for name, value in system.state_dict().items()}
    start = getattr(system, "adversarial_start", None)
    if start:
        system.adversarial_start = 0  # the discriminators have to fit into memory, too
    try:
        estimated = 0.0
        if not on_gpu and small < batch:
            estimated = train(plan, 2, type(data)(**{**data.hparams, "batch_size": small})) * batch / small
        is_full = 3 * estimated <= PATIENCE
        seconds = train(plan, 4 if on_gpu else 3, data) if is_full else estimated
    finally:
        system.load_state_dict(kept)
        if start:
            system.adversarial_start = start
    total = plan.trainer["max_steps"]
    parts = [f"{seconds:.2f} s" + ("" if is_full else f" (estimated from steps of {small} clips)"), used_memory(on_gpu)]
    return f"{', '.join(parts)}; about {total * seconds / 3600:,.1f} h for all {total:,} steps"


def train(plan: Plan, steps: int, data: Any) -> float:
    """Train some steps and return the median time of those after the first, which allocates.

    Raises:
        PreflightError: a gradient is not finite.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    watch = Watch()
    arguments = {n: plan.trainer[n] for n in ("precision", "accelerator")}
    trainer = L.Trainer(
        **arguments, devices=1, max_steps=steps, logger=False, callbacks=[watch, StepProgress()],
        enable_checkpointing=False, enable_progress_bar=True, enable_model_summary=False, limit_val_batches=0,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(plan.system, datamodule=data)
    wrong = [name for name, flag in plan.system.not_finite.items() if float(flag)]
    if wrong:
        raise PreflightError(
            f"the gradient of the {' and the '.join(wrong)} is not finite: lower --model.learning_rate"
        )
    return watch.median()


def used_memory(on_gpu: bool) -> str:
    """Return the memory that the steps took at most."""
    if on_gpu:
        room = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} of {room:.0f} GiB of GPU memory"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB of memory"


def held_out(plan: Plan) -> str:
    """Generate the beginning of a held-out clip."""
    data, began = plan.data, time.perf_counter()
    if not data.holds_out:
        return "none is held out, as asked for: nothing will be measured, and there will be no best.ckpt"
    whole = data.validation_seconds
    if whole:
        data.validation_seconds = min(whole, HELD_OUT_SECONDS)
    try:
        clip = next(iter(data.val_dataloader()))
    finally:
        if whole:
            data.validation_seconds = whole
    seconds = plan.system.reference(clip).shape[-1] / plan.system.preset.sample_rate
    measured = next(iter(validate(plan.system, [clip]).values()))["system"]
    if plan.system.monitor.removeprefix("validation/") not in measured:
        raise PreflightError(f"a held-out clip gives no {plan.system.monitor} to choose the best checkpoint by")
    return f"a clip of {seconds:.1f} s is generated and measured in {time.perf_counter() - began:.1f} s"


def disk(plan: Plan) -> str:
    """Compare what a run keeps with the room there is."""
    weights = sum(v.nbytes for v in plan.system.state_dict().values())
    trained = sum(p.nbytes for network in plan.system.networks().values() for p in network.parameters())
    needed = 4 * (weights + 2 * trained)  # last, previous, best, and the one being written
    folder = Path(plan.runs).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        raise PreflightError(f"{folder} cannot be written: choose another folder by --runs")
    if needed > free:
        raise PreflightError(
            f"checkpoints need {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f}: choose another folder by --runs"
        )
    return f"checkpoints need {needed / 1e9:.1f} GB, {free / 1e9:.0f} GB are free"


def tracking(plan: Plan) -> str:
    """Say where the numbers go."""
    if os.environ.get("WANDB_MODE") == "disabled":
        return "local files; W&B disabled (WANDB_MODE)"
    mode, reason = wandb_mode()
    return "local files and W&B" if mode == "online" else f"local files; W&B {mode} ({reason})"


class Watch(L.Callback):
    """Times steps."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        """Take the time."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    def median(self) -> float:
        """Return the median seconds between steps; the first, which allocates, is not one."""
        spans = sorted(later - earlier for earlier, later in itertools.pairwise(self.marks))
        return spans[len(spans) // 2] if spans else float("nan")


CHECKS = {
    "devices": Check("counting the devices", devices),
    "data": Check("preparing the data", data),
    "batches": Check(f"reading {CLIPS} training clips", batches, True),
    "step": Check("training a few steps", step, True),
    "held-out": Check("generating a held-out clip", held_out, True),
    "disk": Check("comparing disk space with what a run keeps", disk),
    "tracking": Check("looking for W&B", tracking),
}
"""All checks, in the order in which they are made."""


class Verdict(NamedTuple):
    """Result of a check: its name, `ok`, `FAIL` or `skip`, and a line about what was found."""

    name: str
    verdict: Literal["ok", "FAIL", "skip"]
    found: str


def preflight(experiment: Any) -> Iterator[Verdict]:
    """Check an experiment before a long run; yield the result of each check when it ends.

    Args:
        experiment: A plan, whose system is used; or what `resolve` takes: a name, a class, a run.
    """
    plan = experiment if isinstance(experiment, Plan) else resolve(experiment)
    has_data = True
    for name, check in CHECKS.items():
        if check.needs_data and not has_data:
            yield Verdict(name, "skip", "there are no data")
            continue
        try:
            with busy(check.what):
                found = check.run(plan)
        except (ValueError, RuntimeError, OSError) as error:
            has_data = has_data and name != "data"
            yield Verdict(name, "FAIL", str(error).splitlines()[0] if str(error) else type(error).__name__)
        else:
            yield Verdict(name, "ok", found)
