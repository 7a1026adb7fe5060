"""`ostinato doctor`: everything that could end a long run early, looked at before it begins."""

import itertools
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch

from framework.commands.experiment import ExperimentCLI, open_experiment
from framework.errors import OstinatoError
from framework.evaluation.judge import judge
from framework.strategies import number_of_devices

CLIPS = 256
"""Training clips that are read."""


class ComplaintError(OstinatoError, ValueError):
    """What is wrong, and the remedy."""


def run(arguments: list[str]) -> int:
    """Print one line for each thing that was looked at; return 1 if one of them will not do."""
    cli = open_experiment("doctor", arguments)
    print(f"{cli.experiment.__module__}.{cli.experiment.__name__}")
    checks: dict[str, Callable[[ExperimentCLI], str]] = {
        "devices": devices, "data": data, "batches": batches, "step": step, "held-out": held_out, "disk": disk,
        "tracking": tracking,
    }  # fmt: skip
    failed = 0
    for name, check in checks.items():
        try:
            verdict, found = "ok", check(cli)
        except (ValueError, RuntimeError, OSError) as error:
            verdict, found = "BAD", str(error).splitlines()[0] if str(error) else type(error).__name__
            failed += 1
        print(f"  {verdict:3}  {name:9}  {found}", flush=True)
    print("nothing is in the way" if not failed else f"{failed} of {len(checks)} will not do", flush=True)
    return int(failed > 0)


def devices(cli: ExperimentCLI) -> str:
    """Say what trains, and whether the batch can be shared."""
    count, batch, parts = number_of_devices(cli.trainer_arguments), cli.datamodule.batch_size, cli.model.accumulate
    if batch % (count * parts):
        raise ComplaintError(
            f"a batch of {batch} cannot be shared by {count} devices in {parts} parts: change one of them"
        )
    names = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
    return f"{count} x {names}: {batch // count} clips each" + (f", in {parts} parts" if parts > 1 else "")


def data(cli: ExperimentCLI) -> str:
    """Say how much there is."""
    module = cli.datamodule
    module.prepare_data()
    held_out = len(module.val_dataloader())
    if not held_out:
        raise ComplaintError("no clip is held out: nothing will be measured or heard; pack with a validation share")
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
    for batch in module.train_dataloader():
        audio = cli.model.example(batch).float()
        if not torch.isfinite(audio).all():
            raise ComplaintError(
                f"samples that are not finite in {', '.join(batch['key'])}: `ostinato pack --verify` it"
            )
        silent += int((audio.abs().flatten(1).amax(1) < 1e-4).sum())
        seen += len(audio)
        if seen >= CLIPS:
            break
    module.teardown("fit")
    rate = seen / (time.perf_counter() - began)
    bad = sum(module.bad_clips.counts.values())
    if silent > seen / 2:
        raise ComplaintError(
            f"{silent} of {seen} segments are silent: trim silence when packing (`ostinato pack --trim`)"
        )
    return f"{seen} segments at {rate:,.0f} a second, {silent} silent, {bad} bad clips"


def step(cli: ExperimentCLI) -> str:
    """Take real steps and see that every network gets a finite gradient; say what they cost."""
    system = cli.model
    if not system.has_weights:
        return "nothing to train"
    kept = {name: value.clone() for name, value in system.state_dict().items()}
    start = getattr(system, "adversarial_start", None)
    if start:
        system.adversarial_start = 0  # the discriminators have to fit into memory, too
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    watch = Watch()
    arguments = {n: cli.trainer_arguments[n] for n in ("precision", "accelerator")}
    trainer = L.Trainer(
        **arguments, devices=1, max_steps=4, logger=False, callbacks=[watch], enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(system, datamodule=cli.datamodule)
    wrong = [name for name, flag in system.not_finite.items() if float(flag)]
    if wrong:
        raise ComplaintError(f"the gradient of the {' and the '.join(wrong)} is not finite: lower the learning rate")
    system.load_state_dict(kept)
    if start:
        system.adversarial_start = start
    if torch.cuda.is_available():
        room = torch.cuda.get_device_properties(0).total_memory / 2**30
        memory = f"{torch.cuda.max_memory_allocated() / 2**30:.1f} of {room:.0f} GiB of GPU memory"
    else:
        memory = f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB of memory"
    seconds = watch.median()
    total = cli.trainer_arguments["max_steps"] * seconds / 3600
    return f"{seconds:.2f} s, {memory}; about {total:,.1f} h for all {cli.trainer_arguments['max_steps']:,} steps"


def held_out(cli: ExperimentCLI) -> str:
    """Generate a held-out clip."""
    began = time.perf_counter()
    clip = next(iter(cli.datamodule.val_dataloader()))
    seconds = cli.model.truth(clip).shape[-1] / cli.model.preset.sample_rate
    measured = next(iter(judge(cli.model, [clip]).values()))["system"]
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
            f"checkpoints need {needed / 1e9:.1f} GB, {folder} has {free / 1e9:.1f}: choose another --runs"
        )
    return f"checkpoints need {needed / 1e9:.1f} GB, {free / 1e9:.0f} GB are free"


def tracking(cli: ExperimentCLI) -> str:
    """Say where the numbers go."""
    mode = os.environ.get("WANDB_MODE", "")
    if mode in ("disabled", "offline"):
        return f"local files; W&B {mode} (WANDB_MODE)"
    import wandb

    key = os.environ.get("WANDB_API_KEY") or wandb.api.api_key
    return "local files and W&B" if key else "local files; W&B offline, since there is no key (`wandb login`)"


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
