"""Runs as child processes of this machine: so many at once, each with its share of cores and its own devices."""

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
"""Deaths by a signal, without a step between them, after which a run is given up whatever the retries."""
LOOK_AGAIN = 1.0
"""Seconds between two looks at a run that another process has, and at a metric that a run is to be paused at."""


@dataclass
class Task:
    """A run of the sweep on its way through the launcher.

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
        """Whether nothing more is to be done."""
        return self.state in ("finished", "failed", "paused")


class LocalLauncher:
    """Makes runs, `jobs` at once; a signal stops them in good order, and the same sweep goes on later.

    A run that fails is tried again from its checkpoint; a run is given up after `retries` more failures in which it
    came no further. Another process that has a run is waited for, behind the runs that nobody has.

    Args:
        runs: The runs, in the order in which they are to begin.
        jobs: How many at once.
        devices: CUDA devices of a run; each job has its own.
        retries: Failures that a run is forgiven.
        program: What `fit` and its arguments are given to.
        environment: Variables for the children beside this process's own.
        until: Step at which the runs pause, a multiple of their validations' interval; None for their end.
        show: Called after every change, and a few times a second.
        say: Called with a line for each thing that happens to a run.
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
        """Make the runs; return when all are finished, failed or paused, or when a signal has stopped them."""
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
        """Say whether nothing runs any more, and nothing is to."""
        if any(task.process for task in self.tasks):
            return False
        return bool(self.received) or all(task.settled for task in self.tasks)

    @stops_in_good_order(3)
    def receive(self, number: int, frame: Any) -> None:
        """Stop the children: in good order at first, at once on the second signal, by force on the third."""
        self.received.append(number)
        force = [signal.SIGTERM, signal.SIGTERM, signal.SIGKILL][min(len(self.received), 3) - 1]
        for task in self.tasks:
            if task.process:
                task.state = "stopping"
                send(task.process, force)

    def say_what_stops(self) -> None:
        """Say what a signal does; not in its handler, which may interrupt another print."""
        while self.answered < min(len(self.received), len(STOPPING)):
            self.say(STOPPING[self.answered])
            self.answered += 1

    def start_more(self) -> None:
        """Start runs in the free slots; those that others have are looked at again from time to time."""
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
        """Start a run, unless it is finished or another process has it; say whether it was started."""
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
        """Return what a run is without being started, empty where there is something to do."""
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
        """See whether a child has ended, or has come as far as it is to."""
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
        """Decide what becomes of a run whose process has ended."""
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
        """Try a run again that has failed, or give it up."""
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
        """Say whether a run has been measured at the step where it is to pause."""
        return task.until is not None and metric_at(task.run, task.until, task.run.monitor) is not None

    def abandon(self, task: Task) -> None:
        """Leave no child and no claim behind, whatever went wrong here."""
        if task.process:
            send(task.process, signal.SIGTERM)
        task.claim.close()


def send(process: subprocess.Popen, number: int) -> None:
    """Send a child a signal; SIGKILL also goes to the processes that it has started."""
    try:
        if number == signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        pass


def describe_status(status: int) -> str:
    """Return what an exit status means."""
    if status == 0:
        return "stopped early"
    if status < 0 or 128 < status < 160:
        number = -status if status < 0 else status - 128
        known = number in set(signal.Signals)
        return f"ended by {signal.Signals(number).name if known else f'signal {number}'}"
    return "stopped before its end, or stalled" if status == 75 else f"exit status {status}"


def visible_devices() -> list[str]:
    """Return the CUDA devices that this process may use, by the names that its children know them by."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [name for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if name]
    import torch

    return [str(index) for index in range(torch.cuda.device_count())]


def failures(tasks: Sequence[Task]) -> list[tuple[PlannedRun, str, list[str]]]:
    """Return the runs that failed, why, and the last lines of their logs."""
    return [(task.run, task.reason, last_lines(task.run.log)) for task in tasks if task.state == "failed"]
