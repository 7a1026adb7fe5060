"""`ostinato doctor`: checks of everything that could end a long run early, before it begins."""

import itertools
import os
import resource
import shutil
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import torch

from datamodules.streaming.held_out import check_held_out, without_held_out
from framework.errors import OstinatoError
from framework.evaluation.validation import validate
from framework.progress import busy, progress
from framework.strategies import check_devices
from framework.tracking.callbacks import StepProgress
from framework.tracking.wandb_log import wandb_mode
from framework.workflow.experiment import ExperimentCLI, open_experiment

CLIPS = 256
"""Training clips that are read."""
SMALL_BATCH = 2
"""Clips of the first steps on a CPU, from which the time of full ones is known."""
PATIENCE = 30.0
"""Seconds that full steps may take on a CPU; if they would take longer, their time is estimated from small ones."""
HELD_OUT_SECONDS = 2.0
"""Length of the held-out clip that is generated."""


class ComplaintError(OstinatoError, ValueError):
    """What is wrong, and the remedy."""


class Check(NamedTuple):
    """One of the things that are checked: what is done, and the function that does it."""

    what: str
    run: Callable[[ExperimentCLI], str]
    needs_data: bool = False


def run(arguments: list[str]) -> int:
    """Say what will be checked, print one line for each check when it ends, and return 1 if one of them fails."""
    cli = open_experiment("doctor", arguments)
    checks = {
        "devices": Check("counting the devices", devices),
        "data": Check("preparing the data", data),
        "batches": Check(f"reading {CLIPS} training clips", batches, True),
        "step": Check("training a few steps", step, True),
        "held-out": Check("generating a held-out clip", held_out, True),
        "disk": Check("comparing disk space with what a run keeps", disk),
        "tracking": Check("looking for W&B", tracking),
    }
    print(f"{cli.experiment.__module__}.{cli.experiment.__name__}, {len(checks)} checks:")
    print(
        textwrap.fill(
            "; ".join(check.what for check in checks.values()), 100, initial_indent="  ", subsequent_indent="  "
        )
    )
    failed: list[str] = []
    for name, check in checks.items():
        if check.needs_data and "data" in failed:
            print(f"  skip  {name:9}  there are no data", flush=True)
            continue
        try:
            with busy(check.what):
                verdict, found = "ok", check.run(cli)
        except (ValueError, RuntimeError, OSError) as error:
            verdict, found = "FAIL", str(error).splitlines()[0] if str(error) else type(error).__name__
            failed.append(name)
        print(f"  {verdict:4}  {name:9}  {found}", flush=True)
    print(f"{len(failed)} of {len(checks)} checks failed" if failed else "all checks passed", flush=True)
    return int(bool(failed))


def devices(cli: ExperimentCLI) -> str:
    """Say what trains, and whether the batch can be shared."""
    batch, parts = cli.datamodule.batch_size, cli.model.accumulate_grad_batches
    count = check_devices(cli.trainer_arguments, batch, parts)
    names = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"{count} x {names}: {batch // count} clips each" + (f", in {parts} parts" if parts > 1 else "")


def data(cli: ExperimentCLI) -> str:
    """Say how much there is."""
    module = cli.datamodule
    module.prepare_data()
    check_held_out(module)
    held_out = 0 if without_held_out(module) else len(module.val_dataloader())
    if not hasattr(module, "reader"):
        return f"{module.plan.steps:,} batches of {module.batch_size} an epoch, {held_out} clips held out"
    lengths = module.reader("train").lengths()
    hours = lengths.sum() / module.sample_rate / 3600
    short = (lengths < module.segment).mean()
    notes = f", {short:.0%} shorter than a segment (padded with zeros)" if short else ""
    return f"{len(lengths):,} clips, {hours:.2f} h at {module.sample_rate} Hz, {held_out} held out{notes}"


def batches(cli: ExperimentCLI) -> str:
    """Read some, and look at the samples."""
    module, seen, silent, began = cli.datamodule, 0, 0, time.perf_counter()
    number = -(-CLIPS // module.batch_size)
    for batch in progress(itertools.islice(module.train_dataloader(), number), "reading", number, "batches"):
        audio = cli.model.example(batch).float()
        if not torch.isfinite(audio).all():
            raise ComplaintError(
                f"samples that are not finite in {', '.join(batch['key'])}: repair or remove these recordings"
            )
        silent += int((audio.abs().flatten(1).amax(1) < 1e-4).sum())
        seen += len(audio)
    module.teardown("fit")
    rate = seen / (time.perf_counter() - began)
    bad = sum(module.bad_clips.counts.values())
    if silent > seen / 2:
        raise ComplaintError(
            f"{silent} of {seen} segments are silent: cut off silence by `ostinato pack SOURCE DESTINATION --trim 60`"
        )
    return f"{seen} segments at {rate:,.0f} a second, {silent} silent, {bad} bad clips"


def step(cli: ExperimentCLI) -> str:
    """Take real steps and see that every network gets a finite gradient; say what they cost.

    On a CPU, where full steps can take minutes, small ones come first.
    """
    system, data = cli.model, cli.datamodule
    if not system.has_weights:
        return "nothing to train"
    batch, small = data.batch_size, system.accumulate_grad_batches * -(-SMALL_BATCH // system.accumulate_grad_batches)
    on_gpu = torch.cuda.is_available() and cli.trainer_arguments["accelerator"] != "cpu"
    kept = {name: value.clone() for name, value in system.state_dict().items()}
    start = getattr(system, "adversarial_start", None)
    if start:
        system.adversarial_start = 0  # the discriminators have to fit into memory, too
    try:
        estimated = 0.0
        if not on_gpu and small < batch:
            estimated = train(cli, 2, type(data)(**{**data.hparams, "batch_size": small})) * batch / small
        is_full = 3 * estimated <= PATIENCE
        seconds = train(cli, 4 if on_gpu else 3, data) if is_full else estimated
    finally:
        system.load_state_dict(kept)
        if start:
            system.adversarial_start = start
    total = cli.trainer_arguments["max_steps"]
    parts = [f"{seconds:.2f} s" + ("" if is_full else f" (estimated from steps of {small} clips)"), used_memory(on_gpu)]
    return f"{', '.join(parts)}; about {total * seconds / 3600:,.1f} h for all {total:,} steps"


def train(cli: ExperimentCLI, steps: int, data: Any) -> float:
    """Train some steps and return the median time of those after the first, which allocates.

    Raises:
        ComplaintError: a gradient is not finite.
    """
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    watch = Watch()
    arguments = {n: cli.trainer_arguments[n] for n in ("precision", "accelerator")}
    trainer = L.Trainer(
        **arguments, devices=1, max_steps=steps, logger=False, callbacks=[watch, StepProgress()],
        enable_checkpointing=False, enable_progress_bar=True, enable_model_summary=False, limit_val_batches=0,
        use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(cli.model, datamodule=data)
    wrong = [name for name, flag in cli.model.not_finite.items() if float(flag)]
    if wrong:
        raise ComplaintError(
            f"the gradient of the {' and the '.join(wrong)} is not finite: lower --model.learning_rate"
        )
    return watch.median()


def used_memory(on_gpu: bool) -> str:
    """Return the memory that the steps took at most."""
    if on_gpu:
        room = torch.cuda.get_device_properties(0).total_memory / 2**30
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} of {room:.0f} GiB of GPU memory"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB of memory"


def held_out(cli: ExperimentCLI) -> str:
    """Generate the beginning of a held-out clip."""
    data, began = cli.datamodule, time.perf_counter()
    if without_held_out(data):
        return "none is held out, as asked for: nothing will be measured, and there will be no best.ckpt"
    whole = getattr(data, "validation_seconds", None)
    if whole:
        data.validation_seconds = min(whole, HELD_OUT_SECONDS)
    try:
        clip = next(iter(data.val_dataloader()))
    finally:
        if whole:
            data.validation_seconds = whole
    seconds = cli.model.reference(clip).shape[-1] / cli.model.preset.sample_rate
    measured = next(iter(validate(cli.model, [clip]).values()))["system"]
    if cli.model.monitor.removeprefix("validation/") not in measured:
        raise ComplaintError(f"a held-out clip gives no {cli.model.monitor} to choose the best checkpoint by")
    return f"a clip of {seconds:.1f} s is generated and measured in {time.perf_counter() - began:.1f} s"


def disk(cli: ExperimentCLI) -> str:
    """Compare what a run keeps with the room there is."""
    weights = sum(v.nbytes for v in cli.model.state_dict().values())
    trained = sum(p.nbytes for network in cli.model.networks().values() for p in network.parameters())
    needed = 4 * (weights + 2 * trained)  # last, previous, best, and the one being written
    folder = Path(cli.config["runs"]).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        raise ComplaintError(f"{folder} cannot be written: choose another folder by --runs")
    if needed > free:
        raise ComplaintError(
            f"checkpoints need {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f}: choose another folder by --runs"
        )
    return f"checkpoints need {needed / 1e9:.1f} GB, {free / 1e9:.0f} GB are free"


def tracking(cli: ExperimentCLI) -> str:
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
