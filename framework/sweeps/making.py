"""Making the runs of a sweep: showing the plan, launching the runs here or on a cluster, and showing progress."""

import shlex
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.live import Live

from framework.outputs import check_outputs
from framework.progress import busy
from framework.sweeps import halving, slurm, wandb_sweep
from framework.sweeps.find import find_sweep
from framework.sweeps.local import LocalLauncher, Task, failures, visible_devices
from framework.sweeps.record import PlannedRun, write_record
from framework.sweeps.sweep import Sweep
from framework.sweeps.table import duration, plan_table, print_damages, print_failures, progress_table
from framework.sweeps.until import FEWEST_SEEDS, columns_of, differences_of, rounds, with_seeds
from framework.workflow.parser import UsageError

if TYPE_CHECKING:
    from framework.sweeps.plan import Plan


@dataclass(frozen=True)
class Options:
    """How the runs of a sweep are made.

    Args:
        dry: Whether only the plan is shown.
        launcher: Where the runs are made: `local` or `slurm`.
        jobs: Number of runs at the same time.
        devices_per_run: Devices of a run; of each node on Slurm.
        retries: Failures without progress that a run is allowed.
        rerun: Whether runs whose code has changed are trained again; their old folders are kept.
        print_commands: Whether the commands of the runs are printed, and nothing else is done.
        halving: All runs are trained a little, one in so many is kept, and so on; None trains all to their end.
        metric: Metric of the table, of `halving` and of `until`; by default the experiment's own.
        until: Greatest probability of a false decision of a sweep that stops when it knows: it trains one more seed of
            each open comparison a round (`framework.sweeps.until`). None trains all runs.
        smallest: Smallest difference of interest, with which `until` can also decide that there is none.
        most_seeds: Seeds of each run after which `until` stops.
        slurm: Options of sbatch, as `time=240`.
        wandb_yaml: File that the sweep is written to for `wandb sweep`; nothing else is done then.
        overwrite: Whether that file is replaced if it exists.
    """

    dry: bool = False
    launcher: str = "local"
    jobs: int = 1
    devices_per_run: int = 1
    retries: int = 1
    rerun: bool = False
    print_commands: bool = False
    halving: int | None = None
    metric: str | None = None
    until: float | None = None
    smallest: float | None = None
    most_seeds: int = 10
    slurm: Sequence[str] = ()
    wandb_yaml: Path | None = None
    overwrite: bool = False


def make_sweep(name: str, overrides: Sequence[str] = (), **options: Any) -> int:
    """Show the plan of a sweep and make its runs; return 0 if all of them are finished.

    Args:
        name: Name of a sweep, or a sweep file of W&B.
        overrides: Arguments of the command line for every run, as `--trainer.max_steps=1000`.
        options: The values of `Options` that are not the default ones.

    Raises:
        UsageError: an option is wrong; no run has started then.
        SweepError: a name or a value of the sweep does not exist.
    """
    own = Options(**options)
    with busy(f"reading {name}", at_once=True):
        name, sweep, question = open_sweep(name)
    if own.wandb_yaml:
        check_outputs([own.wandb_yaml], own.overwrite, option="--wandb_yaml")
        wandb_sweep.write(own.wandb_yaml, name, sweep)
        print(f"{own.wandb_yaml} written: `wandb sweep {own.wandb_yaml}`, then `wandb agent` on any machine")
        return 0
    if own.until is not None:
        check_until(own)
        sweep = with_seeds(sweep, own.most_seeds)
    if own.launcher == "local" and own.devices_per_run > 1:
        check_devices(own.jobs, own.devices_per_run)
        overrides = [*overrides, f"--trainer.devices={own.devices_per_run}"]
    from framework.sweeps.plan import check_folders, make_plan

    plan = make_plan(name, sweep, list(overrides), question, own.metric or "", prepares_data=not own.dry)
    # The commands alone are what goes to a scheduler; everything else is for the person.
    console = Console(stderr=own.print_commands, highlight=False)
    settings = slurm_settings(own)
    if own.rerun:
        plan = rerun(plan, own.dry or own.print_commands, console)
    show_plan(plan, own.jobs, own.devices_per_run * int(settings.get("nodes", 1)), console)
    todo = [planned for planned in plan.runs if planned.state() != "finished" or (own.rerun and planned.outdated)]
    if own.print_commands:
        for planned in todo:
            print(shlex.join([*planned.command(), *(["--rerun"] if own.rerun and planned.outdated else [])]))
    if own.dry or own.print_commands:
        return 0
    check_folders(plan)
    record = write_record(plan.root, plan.name, plan.question, plan.runs)
    if own.launcher == "slurm":
        on_slurm(plan, todo, own, settings)
        return 0
    console.print(f"\nkept as {record}; `ostinato status {plan.name}` shows how far it is\n", soft_wrap=True)
    return here(plan, own, console) if own.until is None else in_rounds(plan, own, console)


def check_until(own: Options) -> None:
    """Refuse options that sequential rounds cannot have.

    Raises:
        UsageError: naming the option.
    """
    assert own.until is not None
    if not 0 < own.until < 1:
        raise UsageError(f"--until {own.until}: must be a probability between 0 and 1, such as 0.05")
    if own.smallest is not None and own.smallest <= 0:
        raise UsageError(f"--smallest {own.smallest}: must be more than 0, in units of the metric")
    if own.most_seeds < FEWEST_SEEDS:
        raise UsageError(
            f"--most_seeds {own.most_seeds}: one seed says nothing about a method; at least {FEWEST_SEEDS}"
        )
    if own.launcher == "slurm" or own.halving is not None:
        raise UsageError("--until chooses what is trained next: it needs --launcher local and no --halving")


def in_rounds(plan: "Plan", own: Options, console: Console) -> int:
    """Train seed after seed on this machine until every comparison with the first run is decided."""
    from framework.evaluation.metrics.shelf import metrics_named
    from framework.workflow.comparisons import compared, evaluated, target_of

    assert own.until is not None
    name = (own.metric or plan.runs[0].monitor).removeprefix("validation/")
    metric = metrics_named([name])[0]
    status = 0

    def train(runs: list[PlannedRun]) -> bool:
        nonlocal status
        status = here(replace(plan, runs=runs), own, console)
        return status == 0

    def differences(runs: list[PlannedRun]) -> dict[str, np.ndarray]:
        targets = [target_of(one.path, plan.root, label) for label, seeds in columns_of(runs).items() for one in seeds]
        return differences_of(compared(targets, evaluated(targets, metrics=[name]), metrics=[name]), name)

    last = None
    for last in rounds(plan.runs, name, metric.better, train, differences, own.until, own.smallest):
        console.print(f"\n{max(last.seeds.values())} seeds, {name} less that of {next(iter(last.seeds))}:")
        for label, found in last.verdicts.items():
            seeds, ends = last.seeds[label], f"[{found.difference.low:.4g}, {found.difference.high:.4g}]"
            line = f"  {label}: {found.answer}, {found.difference.mean:+.4g} {ends}, e-value {found.evidence:.3g}"
            console.print(f"{line}, {seeds} seeds", soft_wrap=True, markup=False)
    if last is not None:
        made, planned = sum(last.seeds.values()), len(plan.runs)
        console.print(
            f"\n{len(last.verdicts) - len(last.open)} of {len(last.verdicts)} comparisons decided with {made} of "
            f"at most {planned} trainings; at most {100 * own.until:g} % of such sweeps have a false decision",
            soft_wrap=True,
        )
    return status


def rerun(plan: "Plan", only_said: bool, console: Console) -> "Plan":
    """Set the folders of runs aside that were trained by other code than there is now; return the plan without them.

    Raises:
        RunError: one of them is being trained.
    """
    runs = []
    for planned in plan.runs:
        if planned.outdated and not only_said:
            console.print(f"{planned.label}: the earlier run is kept in {planned.folder.set_aside()}", soft_wrap=True)
            planned = replace(planned, note="", outdated=False)
        elif planned.outdated:
            planned = replace(planned, note=f"{planned.note}; is made again")
        runs.append(planned)
    return replace(plan, runs=runs)


def open_sweep(name: str) -> tuple[str, Sweep, str]:
    """Return the name, the sweep and the question of what a command line names."""
    if name.endswith((".yaml", ".yml")):
        return Path(name).stem, wandb_sweep.read(Path(name)), f"read from {name}"
    return find_sweep(name)


def here(plan: "Plan", own: Options, console: Console) -> int:
    """Make the runs as processes of this machine."""
    status = Status(plan.runs, console)

    def launcher(runs: Sequence[PlannedRun], until: int | None) -> LocalLauncher:
        return LocalLauncher(
            runs, own.jobs, own.devices_per_run, own.retries, until=until, show=status.show, say=status.say,
            environment={"WANDB_TAGS": plan.name},
        )  # fmt: skip

    with status:
        if own.halving is not None:
            tasks, stopped = halving.halve(plan.runs, own.halving, launcher, status.say)
        else:
            made = launcher(plan.runs, None)
            tasks, stopped = made.run(), made.stopped
    print_failures(console, failures(tasks))
    if stopped is not None:
        console.print("\nstopped: the same command goes on from there")
        return 128 + stopped
    failed = sum(task.state == "failed" for task in tasks)
    finished = sum(task.state == "finished" for task in tasks)
    behind = len(tasks) - failed - finished
    console.print(
        f"\n{finished} of {len(tasks)} runs finished"
        + (f", {failed} failed (the same command tries again)" if failed else "")
        + (f", {behind} left behind" if behind else "")
    )
    return 1 if failed else 0


def slurm_settings(own: Options) -> dict[str, str]:
    """Return the options of sbatch that were given.

    Raises:
        UsageError: they are for another launcher, or no options.
    """
    if own.slurm and own.launcher != "slurm":
        raise UsageError("--slurm needs --launcher slurm")
    if own.halving is not None and own.launcher == "slurm":
        raise UsageError("--halving needs --launcher local: Slurm's jobs cannot be paused at a step")
    settings = dict(word.partition("=")[::2] for word in own.slurm)
    wrong = [word for word in own.slurm if "=" not in word]
    if wrong or not settings.get("nodes", "1").isdecimal():
        raise UsageError(f"--slurm {(wrong or ['nodes'])[0]}: KEY=VALUE is needed, as --slurm time=240 partition=gpu")
    return settings


def on_slurm(plan: "Plan", todo: list[PlannedRun], own: Options, settings: dict[str, str]) -> None:
    """Submit the runs to Slurm, and leave them to it."""
    jobs = slurm.submit(todo, plan.name, plan.root, own.jobs, own.devices_per_run, settings)
    already = len(todo) - len(jobs)
    print(
        f"submitted: {', '.join(jobs) or 'nothing'}"
        + (f"; {already} are in the queue already" if already else "")
        + f"\n`ostinato status {plan.name}` shows how far they are; the same command submits what has failed"
    )


def show_plan(plan: "Plan", jobs: int, devices: int, console: Console) -> None:
    """Print the plan: runs, cost, and what is done already."""
    from framework.sweeps.plan import UNPREPARED, estimate

    states = {planned.signature: planned.state() for planned in plan.runs}
    estimates = {planned.signature: estimate(planned, plan.root) for planned in plan.runs}
    costs = {
        key: ("" if states[key] == "finished" else "unknown" if e.hours is None else duration(e.hours), e.source)
        for key, e in estimates.items()
    }
    console.print(f"{plan.name}: {plan.question}\n", soft_wrap=True)
    console.print(plan_table(plan.runs, states, costs))
    print_damages(console, plan.runs)
    for label, other in plan.equal.items():
        console.print(f"{label} is the same run as {other}", soft_wrap=True)
    todo = [key for key, state in states.items() if state != "finished"]
    known = [e.hours for key in todo if (e := estimates[key]).hours is not None]
    unknown = len(todo) - len(known)
    hours = sum(known)
    line = f"\n{len(plan.runs)} runs, {len(plan.runs) - len(todo)} finished, {len(todo)} to make"
    if known:
        line += f": {duration(hours * devices)} of training on a device, {duration(hours / min(jobs, len(todo)))}"
        line += f" with {jobs} at once" if jobs > 1 else " one after another"
    if unknown:
        line += f"{';' if known else ':'} cost of {unknown} unknown (no run of these systems there yet)"
    console.print(line, soft_wrap=True)
    if unprepared := sum(planned.note == UNPREPARED for planned in plan.runs):
        console.print(
            f"the data of {unprepared} runs are not prepared yet, so it is not known which of these are finished: the "
            "same command without --dry prepares them",
            soft_wrap=True,
        )


class Status:
    """What a person sees meanwhile: a live table on a terminal, else a line for everything that happens."""

    def __init__(self, runs: list[PlannedRun], console: Console) -> None:
        self.runs, self.console, self.when = runs, console, 0.0
        self.live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self.states = {planned.signature: str(planned.state()) for planned in runs}

    def __enter__(self) -> "Status":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        if self.live:
            self.live.update(progress_table(self.runs, self.states), refresh=True)
            self.live.stop()

    def say(self, line: str) -> None:
        """Print a line above the table."""
        self.console.print(f"{time.strftime('%H:%M:%S')} {line}", soft_wrap=True, markup=False)

    def show(self, tasks: list[Task]) -> None:
        """Draw the table again, once a second."""
        self.states |= {task.run.signature: task.state for task in tasks}
        if self.live and time.monotonic() - self.when > 1.0:
            self.when = time.monotonic()
            height = max(shutil.get_terminal_size().lines - 6, 4)
            self.live.update(progress_table(self.runs, self.states, height), refresh=True)


def check_devices(jobs: int, devices: int) -> None:
    """Refuse more devices than there are, where there are some: ranks of one run cannot share one."""
    there = len(visible_devices())
    if there and jobs * devices > there:
        raise UsageError(f"--jobs {jobs} with --devices_per_run {devices} needs {jobs * devices} devices, not {there}")
