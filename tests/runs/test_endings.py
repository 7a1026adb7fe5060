"""A real run is stopped or killed before, between and after its steps: all its processes end, soon and in one line."""

import csv
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch
from nursery import Child

from framework.runs.locks import is_locked

PROGRAM = Path(__file__).with_name("waiting_run.py")
TWO_RANKS = "--trainer.devices=2"


class Run:
    """A run in a folder of its own, which waits in one place.

    Args:
        folder: Where; data are kept beside it.
        overrides: Of the command line.
        variables: Of the environment: where it waits.
    """

    def __init__(self, folder, *overrides, **variables):
        folder.mkdir(exist_ok=True)
        (folder / "waiting0.txt").unlink(missing_ok=True)
        own = {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "HOME": str(folder)}
        self.folder = folder
        self.child = Child(PROGRAM, [str(folder), *overrides], folder, os.environ | own | variables)

    @property
    def said(self):
        return (self.folder / "output.txt").read_text()

    @property
    def locks(self):
        return list(self.folder.glob("runs/*/*/.lock"))

    def wait_until_it_waits(self, rank=0):
        until(lambda: (self.folder / f"waiting{rank}.txt").exists() or self.child.poll() is not None, 120)
        assert self.child.poll() is None, self.said

    def end(self, seconds):
        """Wait for the end of the first process and of all others; return its status and how long that took."""
        began = time.monotonic()
        self.child.process.join(seconds)
        status = self.child.poll()
        until(lambda: not others(self.child.pid), seconds)
        assert others(self.child.pid) == [], (status, self.said)
        assert not any(is_locked(path) for path in self.locks)
        return status, time.monotonic() - began


def until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)


def others(session):
    """Return the living processes of a session."""
    listed = subprocess.run(["ps", "-ww", "-s", str(session), "-o", "pid=,stat=,args="], capture_output=True, text=True)
    return [line for line in listed.stdout.splitlines() if not line.split()[1].startswith("Z")]


def slow():
    """Return by how much this machine is slower than one that nobody else uses."""
    return max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("endings")


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("prepare", signal.SIGINT),
        ("prepare", signal.SIGTERM),
        ("setup", signal.SIGUSR1),
        ("step", signal.SIGTERM),
        ("evaluation", signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_run_wherever_it_is(place, where, number):
    run = Run(place / f"{where}_{number}", "--trainer.max_steps=2", WAIT_IN=where)
    stop(run, number)


def stop(run, number):
    """Send a signal to a run that waits; it has to end at once, with one line."""
    run.wait_until_it_waits()
    before = run.said
    os.kill(run.child.pid, number)
    status, seconds = run.end(60)
    assert status == 128 + number
    assert seconds < 15 * slow(), run.said
    what = "interrupted" if number == signal.SIGINT else f"stopped by {number.name}"
    assert run.said.removeprefix(before) == f"ostinato: {what}; the same command continues the run\n"


def test_a_run_that_is_ended_in_validations_repeats_them_and_nothing_else(place):
    """The second is at the end of an epoch."""
    options = ("--trainer.max_steps=14", "--trainer.val_check_interval=6")
    reference = Run(place / "reference", *options)
    assert reference.end(200)[0] == 0, reference.said
    folder = place / "validations"
    killed = Run(folder, *options, WAIT_IN="validation", WAIT_STEP="6")
    killed.wait_until_it_waits()
    os.kill(killed.child.pid, signal.SIGKILL)
    assert killed.end(20 * slow())[0] == -signal.SIGKILL
    stop(Run(folder, *options, "--data.workers=1", WAIT_IN="validation", WAIT_STEP="12"), signal.SIGTERM)
    steps = Run(folder, *options)
    assert steps.end(200)[0] == 0, steps.said
    assert rows(folder) == rows(reference.folder)
    for name in ("last.ckpt", "best.ckpt"):
        ours, theirs = (tensors(next(f.glob(f"runs/*/*/checkpoints/{name}"))) for f in (folder, reference.folder))
        assert ours.keys() == theirs.keys()
        assert [key for key in ours if not torch.equal(ours[key], theirs[key])] == []


def rows(folder):
    """Return all that a run has logged but its speed."""
    with open(next(folder.glob("runs/*/*/metrics.csv")), newline="") as file:
        return [{n: v for n, v in row.items() if not n.startswith("speed/")} for row in csv.DictReader(file)]


def tensors(path):
    found = {}

    def look(tree, name):
        if isinstance(tree, torch.Tensor):
            found[name] = tree
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
            look(value, f"{name}/{key}")

    look(torch.load(path, weights_only=True), "")
    return found


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_nothing_is_left_of_a_killed_run_however_its_workers_were_started(place, method):
    run = Run(place / method, "--data.workers=2", WAIT_IN="step", START_METHOD=method)
    run.wait_until_it_waits()
    assert len(others(run.child.pid)) >= 3
    os.kill(run.child.pid, signal.SIGKILL)
    status, _ = run.end(20 * slow())
    assert status == -signal.SIGKILL


def test_a_rank_ends_with_the_first_process_before_the_first_step(place):
    # While the second rank prepares, the first waits for it.
    run = Run(place / "first", TWO_RANKS, WAIT_IN="prepare", WAIT_RANK="1")
    run.wait_until_it_waits(rank=1)
    os.kill(run.child.pid, signal.SIGKILL)
    status, _ = run.end(20 * slow())
    assert status == -signal.SIGKILL


def test_a_port_that_another_process_uses_is_not_used_again(place):
    """A process that has trained on two devices leaves MASTER_PORT to those that it starts."""
    with socket.create_server(("", 0)) as server:
        port = str(server.getsockname()[1])
        run = Run(place / "port", TWO_RANKS, "--trainer.max_steps=1", MASTER_PORT=port)
        assert run.end(200)[0] == 0, run.said


@pytest.mark.parametrize(
    ("number", "expected", "message"),
    [
        (signal.SIGKILL, 128 + signal.SIGKILL, "ostinato: error: rank 1 was ended by SIGKILL: the run cannot"),
        (signal.SIGTERM, 128 + signal.SIGTERM, "ostinato: stopped by SIGTERM; the same command continues the run"),
    ],
)
def test_the_run_ends_with_a_rank(place, number, expected, message):
    run = Run(place / f"rank_{number}", TWO_RANKS, WAIT_IN="prepare", WAIT_RANK="1")
    run.wait_until_it_waits(rank=1)
    started = others(run.child.pid)
    (rank,) = [int(line.split()[0]) for line in started if str(PROGRAM) in line] or [(started, run.said)]
    assert isinstance(rank, int), rank
    os.kill(rank, number)
    status, seconds = run.end(60)
    assert status == expected, run.said
    assert seconds < 10 * slow()
    assert message in run.said
    assert "Traceback" not in run.said


def test_a_preparation_that_hangs_is_ended_and_shown(place):
    run = Run(place / "hangs", WAIT_IN="prepare", STALL_MINUTES="0.05")
    status, _ = run.end(60)
    assert status == 75
    assert "rank 0: nothing has happened for" in run.said
    assert "in prepare_data" in run.said


@pytest.mark.parametrize(("devices", "parts"), [("99", "1"), ("3", "1"), ("2", "4")])
def test_devices_that_cannot_share_a_batch_are_refused_before_anything_starts(place, devices, parts):
    arguments = (f"--trainer.devices={devices}", f"--model.accumulate_grad_batches={parts}")
    run = Run(place / f"devices_{devices}_{parts}", *arguments, WAIT_IN="prepare")
    status, _ = run.end(60)
    assert status == 2, run.said
    assert f"trainer.devices = {devices}: a batch of 4 cannot be shared by {devices} devices" in run.said
    assert not (run.folder / "waiting0.txt").exists()
