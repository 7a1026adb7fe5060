"""A real run is stopped in every way there is, and has to end as if nothing had happened, bit for bit."""

import contextlib
import csv
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from nursery import Child

PROGRAM = Path(__file__).with_name("small_run.py")


class Run:
    """A folder in which the same command is started again and again."""

    program = PROGRAM

    def __init__(self, folder, *overrides):
        folder.mkdir()
        self.folder, self.overrides = folder, overrides

    def start(self, *overrides, **options):
        environment = os.environ | {"WANDB_MODE": "disabled", "OMP_NUM_THREADS": "1", "HOME": str(self.folder)}
        arguments = [str(self.folder), *self.overrides, *overrides]
        return Child(self.program, arguments, self.folder, environment, **options)

    @property
    def said(self):
        return (self.folder / "output.txt").read_text()

    def finish(self, *overrides, **options):
        assert self.start(*overrides, **options).wait(120) == 0, self.said
        return self

    def stop_at(self, step, stop, *overrides):
        """Start, stop by `stop(process)` once that many steps are logged; return the exit status."""
        process = self.start(*overrides)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline and self.steps() < step:
            time.sleep(0.02)
        stop(process)
        return process.wait(60)

    def steps(self):
        return max((int(float(row["step"])) for row in self.rows()), default=0)

    def rows(self):
        """Return the logged rows without their speeds."""
        found = list(self.folder.glob("runs/*/*/metrics.csv"))
        rows = list(csv.DictReader(found[0].read_text().splitlines())) if found else []
        return [{n: v for n, v in row.items() if not n.startswith("speed/")} for row in rows if row.get("step")]

    @property
    def checkpoints(self):
        (folder,) = self.folder.glob("runs/*/*/checkpoints")
        return folder

    def result(self):
        """Return weights, averaged weights, buffers and optimiser states as one dictionary of tensors."""
        return tensors(torch.load(self.checkpoints / "last.ckpt", weights_only=True))


def tensors(tree, name=""):
    if isinstance(tree, torch.Tensor):
        return {name: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, (list, tuple)) else ()
    return {n: t for key, value in items for n, t in tensors(value, f"{name}/{key}").items()}


def same(run, reference):
    """Compare two runs bit for bit: every tensor of their checkpoints and every logged loss."""
    ours, theirs = run.result(), reference.result()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert [r for r in run.rows() if r.get("train/generator")] == [
        r for r in reference.rows() if r.get("train/generator")
    ]


def whole(process):
    os.killpg(process.pid, signal.SIGKILL)


def rank_one(process):
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[:1]
    return int(child)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("one") / "reference").finish()


def test_devices_and_parts_change_nothing(tmp_path):
    """Without dropout, whose random numbers are each rank's own."""
    runs = [Run(tmp_path / n, "--trainer.max_steps=6", "--model.dropout=0", *o) for n, o in (
        ("one", ()), ("two", ("--trainer.devices=2", "--model.accumulate_grad_batches=2")),
    )]  # fmt: skip
    ours, expected = (run.finish().result() for run in runs)
    for name, tensor in expected.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-6, msg=name)


def test_killed_and_cut_is_the_same_run_bit_for_bit(one):
    run = Run(one.folder.parent / "killed")
    for step, workers in zip(sorted(random.sample(range(8, 28), 2)), (0, 2), strict=True):
        assert run.stop_at(step, whole, f"--data.workers={workers}") == -signal.SIGKILL
    assert run.stop_at(30, lambda process: os.kill(process.pid, signal.SIGUSR1)) == 128 + signal.SIGUSR1, run.said
    last = run.checkpoints / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-5000])
    same(run.finish(), one)
    assert "last.ckpt is cut short" in run.said
    assert "continuing from last.ckpt" in run.said
    assert "continuing from previous.ckpt" in run.said or run.said.count("run folder") == 4


def test_two_ranks_stopped_in_every_way_are_the_same_run_bit_for_bit(tmp_path):
    reference = Run(tmp_path / "reference", "--trainer.devices=2").finish()
    run = Run(tmp_path / "stopped", "--trainer.devices=2")
    began = []

    def to_rank_one(number):
        return lambda process: (began.append(time.monotonic()), os.kill(rank_one(process), number))

    assert run.stop_at(8, to_rank_one(signal.SIGTERM)) == 128 + signal.SIGTERM, run.said
    assert "the same command continues the run" in run.said
    assert run.stop_at(20, to_rank_one(signal.SIGKILL)) not in (0, None), "a dead rank takes the others with it"
    assert time.monotonic() - began[-1] < 60
    same(run.finish(), reference)


def test_a_full_disk_costs_checkpoints_and_not_the_run(one):
    run = Run(one.folder.parent / "full")
    size = (one.checkpoints / "last.ckpt").stat().st_size
    assert run.start(largest_file=size // 2).wait(120) == 2, run.said
    assert run.said.count("could not be written (File too large): make room; the run goes on without") == 1
    assert "last.ckpt could not be written at step 40, the last one: make room" in run.said
    assert run.rows() == one.rows()
    # It does not count as finished.
    same(run.finish(), one)


@pytest.fixture
def small_disk(tmp_path):
    """Return a folder on a file system of 3 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full_again_and_again_changes_nothing(one, small_disk):
    """Logs, checkpoints, sound, pictures and what is printed go to the same disk."""
    (small_disk / "data").symlink_to(one.folder.parent / "data")
    run = Run(small_disk / "run")
    process, levels = run.start(), 0
    while process.poll() is None and levels < 12:
        time.sleep(0.1)
        left = random.randrange(300_000) * (levels % 3 > 0)
        with open(small_disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
            filler.write(bytes(max(free - left, 0)))
        time.sleep(0.2)
        (small_disk / "filler").unlink()
        levels += run.steps() > 0
    status = process.wait(120)
    assert "Traceback" not in run.said, run.said
    # If it was full when the training ended, the run says so and does not count as finished.
    assert status == 0 or (status == 2 and "could not be written" in run.said), run.said
    assert levels > 3
    if status:
        run.finish()
    same(run, one)
    assert [path for path in small_disk.rglob("*") if path.name.endswith(".part")] == []
