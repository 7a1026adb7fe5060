"""Launcher of runs as child processes on this machine, several at a time, each with its share of cores and devices."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from framework.interrupts import stops_in_good_order
from framework.processes import ends_with_this_process
from framework.runs.locks import is_locked
from framework.sweeps.record import ATTEMPT, PlannedRun, last_lines, metric_at, progress

PROGRAM = (sys.executable, "-m", "framework.cli")
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
STOPPING = (
    "stopping: every run saves after its step (again to stop at once)",
    "stopping at once (again to kill)",
    "killing",
)
PATIENCE = 4
"""Number of deaths by a signal without a step in between after which a run is given up."""
LOOK_AGAIN = 1.0
"""Interval (s) of polling runs of other processes, and metrics at which a run is to be paused."""


@dataclass
class Task:
    """A run of the sweep and its state in the launcher.

    `state` is `waiting`, `running`, `elsewhere` (another sweep or `ostinato fit` has it), `stopping`, `paused`,
    `finished` or `failed`.
    """

    run: PlannedRun
    state: str = "waiting"
    until: int | None = None
    slot: int = -1
    process: subprocess.Popen | None = None
    claim: ExitStack = field(default_factory=ExitStack)
    failures: int = 0
    deaths: int = 0
    began_at: int = 0
    looked: float = 0.0
    reason: str = ""

    @property
    def settled(self) -> bool:
        """Whether the run needs no further processing."""
        return self.state in ("finished", "failed", "paused")


class LocalLauncher:
    """Trains runs, `jobs` at a time; a signal stops them with checkpoints, and the same sweep resumes later.

    A run that fails is restarted from its checkpoint; it is given up after `retries` more failures without progress.
    Runs that another process is training are waited for last.

    Args:
        runs: The runs, in the order of their start.
        jobs: Number of runs at a time.
        devices: Number of CUDA devices for each run.
        retries: Number of further attempts after a failure.
        program: Command that `fit` and its arguments are appended to.
        environment: Additional environment variables of the child processes.
        until: Step at which the runs pause, a multiple of their validation interval; None for their end.
        show: Function called after every change and a few times per second.
        say: Function called with a message for each event of a run.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        jobs: int = 1,
        devices: int = 1,
        retries: int = 1,
        program: Sequence[str] = PROGRAM,
        environment: dict[str, str] | None = None,
        until: int | None = None,
        show: Callable[[list[Task]], None] = lambda tasks: None,
        say: Callable[[str], None] = print,
    ) -> None:
        self.tasks = [Task(run, until=until) for run in runs]
        self.jobs, self.devices, self.retries, self.program = jobs, devices, retries, program
        self.environment, self.show, self.say = environment or {}, show, say
        self.received: list[int] = []
        self.answered = 0

    def run(self) -> list[Task]:
        """Train the runs; return when all are finished, failed or paused, or after a signal."""
        previous = {number: signal.signal(number, self.receive) for number in STOPS}
        try:
            while not self.done():
                self.say_what_stops()
                for task in self.tasks:
                    self.look(task)
                if not self.received:
                    self.start_more()
                self.show(self.tasks)
                time.sleep(0.1)
            self.say_what_stops()
            self.show(self.tasks)
        finally:
            for task in self.tasks:
                self.abandon(task)
            for number, handler in previous.items():
                signal.signal(number, handler)
        return self.tasks

    @property
    def stopped(self) -> int | None:
        """The signal that stopped the sweep, if one did."""
        return self.received[0] if self.received else None

    def done(self) -> bool:
        """Return whether no run is running or waiting."""
        if any(task.process for task in self.tasks):
            return False
        return bool(self.received) or all(task.settled for task in self.tasks)

    @stops_in_good_order(3)
    def receive(self, number: int, frame: Any) -> None:
        """Stop the child processes: with checkpoints, on the second signal at once, on the third with SIGKILL."""
        self.received.append(number)
        force = [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL][min(len(self.received), 3) - 1]
        for task in self.tasks:
            if task.process:
                task.state = "stopping"
                send(task.process, force)

    def say_what_stops(self) -> None:
        """Print the effect of a signal; not in its handler, which may interrupt another print."""
        while self.answered < min(len(self.received), len(STOPPING)):
            self.say(STOPPING[self.answered])
            self.answered += 1

    def start_more(self) -> None:
        """Start runs in the free slots; runs of other processes are polled at intervals."""
        free = sorted(set(range(self.jobs)) - {task.slot for task in self.tasks if task.process})
        now = time.monotonic()
        for task in self.tasks:
            if not free:
                return
            if task.state == "waiting" or (task.state == "elsewhere" and now - task.looked > LOOK_AGAIN):
                task.looked = now
                if self.begin(task, free[0]):
                    free.pop(0)

    def begin(self, task: Task, slot: int) -> bool:
        """Start a run, unless it is finished or another process is training it; return whether it was started."""
        run, was = task.run, task.state
        claim = ExitStack()
        if not claim.enter_context(run.claimed()) or is_locked(run.path / ".lock"):
            claim.close()
            task.state = "elsewhere"
            if was == "waiting":
                self.say(f"{run.label}: another process has it; waiting for it behind the others")
            return False
        if settled := self.already(task):
            claim.close()
            task.state = settled
            return False
        run.failure_file.unlink(missing_ok=True)
        task.claim, task.slot, task.state, task.began_at = claim, slot, "running", progress(run).step
        command = run.command(self.program)
        with open(run.log, "a") as log:
            log.write(f"\n{ATTEMPT}{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(run.command())}\n")
            log.flush()
            task.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                env=self.environment_of(slot), preexec_fn=ends_with_this_process(signal.SIGTERM),
            )  # fmt: skip
        self.say(
            f"{run.label}: {'goes on from step ' + str(task.began_at) if task.began_at else 'begins'} ({run.path})"
        )
        return True

    def already(self, task: Task) -> str:
        """Return the state of a run that need not be started; empty if it has to be."""
        return "finished" if task.run.state() == "finished" else "paused" if self.reached(task) else ""

    def environment_of(self, slot: int) -> dict[str, str]:
        """Return a child's environment: its share of the cores, and its devices."""
        environment = os.environ | {"PYTHONUNBUFFERED": "1"} | self.environment
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // self.jobs)))
        visible = visible_devices()
        if visible:
            first = slot * self.devices
            chosen = [visible[(first + index) % len(visible)] for index in range(self.devices)]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
        return environment

    def look(self, task: Task) -> None:
        """Check whether a child process has ended, or has reached the step at which it is to pause."""
        if task.process is None:
            return
        status = task.process.poll()
        if status is None:
            due = task.until is not None and time.monotonic() - task.looked > LOOK_AGAIN
            if due and task.state == "running":
                task.looked = time.monotonic()
                if self.reached(task):
                    task.state = "pausing"
                    send(task.process, signal.SIGTERM)
            return
        send(task.process, signal.SIGKILL)
        task.process = None
        task.claim.close()
        self.settle(task, status)

    def settle(self, task: Task, status: int) -> None:
        """Set the state of a run whose process has ended."""
        run, reached = task.run, progress(task.run).step
        if run.state() == "finished":
            task.state = "finished"
            self.say(f"{run.label}: finished, {reached} steps")
        elif self.received:
            task.state, task.reason = "waiting", f"stopped at step {reached}"
            self.say(f"{run.label}: {task.reason}")
        elif task.state == "pausing":
            task.state = "paused"
        elif "is being trained by process" in "".join(last_lines(run.log, 1)):
            task.state = "elsewhere"
        else:
            self.count(task, status, reached)

    def count(self, task: Task, status: int, reached: int) -> None:
        """Restart a run that has failed, or give it up."""
        run = task.run
        if reached > task.began_at:
            task.failures = task.deaths = 0
        own = 0 < status < 128 and status != 75
        task.failures += own
        task.deaths += not own
        ended = describe_status(status)
        if task.failures > self.retries or task.deaths > max(PATIENCE, self.retries):
            task.state, task.reason = "failed", ended
            run.fail(ended)
            self.say(f"{run.label}: failed ({ended}), see {run.log}")
        else:
            task.state = "waiting"
            self.say(f"{run.label}: {ended} at step {reached}, trying again")

    def reached(self, task: Task) -> bool:
        """Return whether a run was validated at the step at which it is to pause."""
        return task.until is not None and metric_at(task.run, task.until, task.run.monitor) is not None

    def abandon(self, task: Task) -> None:
        """End all child processes and release all claims after an error."""
        if task.process:
            send(task.process, signal.SIGTERM)
        task.claim.close()


def send(process: subprocess.Popen, number: int) -> None:
    """Send a signal to a child process; SIGKILL also to the processes that it has started."""
    try:
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        pass


def describe_status(status: int) -> str:
    """Return the description of an exit status."""
    if status == 0:
        return "stopped early"
    if status < 0 or 128 < status < 160:
        number = -status if status < 0 else status - 128
        known = number in set(signal.Signals)
        return f"ended by {signal.Signals(number).name if known else f'signal {number}'}"
    return "stopped before its end, or stalled" if status == 75 else f"exit status {status}"


def visible_devices() -> list[str]:
    """Return the CUDA devices that this process may use, by the names that its child processes use."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def failures(tasks: Sequence[Task]) -> list[tuple[PlannedRun, str, list[str]]]:
    """Return the failed runs, the reasons, and the last lines of their logs."""
    return [(task.run, task.reason, last_lines(task.run.log)) for task in tasks if task.state == "failed"]
