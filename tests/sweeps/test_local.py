"""The launcher of this machine, with runs that fail, die, are killed and are taken by others."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_sweep import PROGRAM, fake_run

from framework.sweeps import local
from framework.sweeps.halving import best, halve, rungs
from framework.sweeps.local import LocalLauncher, failures
from framework.sweeps.record import progress
from framework.sweeps.sweep import SweepError


def launch(runs, **options):
    said = []
    launcher = LocalLauncher(runs, program=PROGRAM, say=said.append, **options)
    return launcher.run(), said


def steps_of(folder):
    return [line.split(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()[1:]]


def lives(folder):
    return [line.split() for line in (folder / "lives.txt").read_text().splitlines()]


def start(root, *arguments):
    command = [sys.executable, Path(__file__).with_name("fake_sweep.py"), root, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_runs_share_cores_and_devices_and_failures_are_retried_from_checkpoints(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)))
    runs = [fake_run(tmp_path, name, name) for name in ("fails", "ok", "fails_once", "dies_once")]
    counts = []

    def show(tasks):
        counts.append(sum(task.process is not None for task in tasks))

    tasks, said = launch(runs, jobs=2, devices=2, retries=1, show=show)
    assert [task.state for task in tasks] == ["failed", "finished", "finished", "finished"]
    assert max(counts) == 2
    assert {life[1] for run in runs for life in lives(run.path)} == {"3"}
    assert {life[2] for run in runs for life in lives(run.path)} == {"4,5", "6,7"}
    # The second life got from the checkpoint at 10 to the same step 12: no further.
    assert [life[0] for life in lives(tmp_path / "fails")] == ["0", "10", "10"][: len(lives(tmp_path / "fails"))]
    assert [life[0] for life in lives(tmp_path / "dies_once")] == ["0", "5"]
    [(run, reason, lines)] = failures(tasks)
    assert (run.label, reason, lines[-1]) == ("fails", "exit status 1", "the reason")
    assert run.state() == "failed"
    assert any("fails_once: exit status 1 at step 7, trying again" in line for line in said)
    # A finished run is not made again; the failed one is.
    launch(runs, jobs=2, retries=0)
    assert len(lives(tmp_path / "ok")) == 1
    assert len(lives(tmp_path / "fails")) > 2


def test_children_killed_at_random_are_started_again_until_all_are_finished(tmp_path):
    chance = random.Random(0)
    runs = [fake_run(tmp_path, f"run{number}", steps=60) for number in range(3)]
    kills = []

    def murder(tasks):
        alive = [task.process for task in tasks if task.process]
        if alive and len(kills) < 8 and chance.random() < 0.4:
            kills.append(chance.choice((signal.SIGKILL, signal.SIGTERM)))
            os.kill(chance.choice(alive).pid, kills[-1])

    tasks, _ = launch(runs, jobs=2, show=murder)
    assert len(kills) == 8
    assert [task.state for task in tasks] == ["finished"] * 3
    for run in runs:
        assert steps_of(run.path) == [str(step) for step in range(1, 61)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_or_killed_sweep_leaves_checkpoints_and_no_children(tmp_path, number):
    sweep = start(tmp_path, 3, 2, 300)
    wait_until(lambda: all((tmp_path / f"run{n}" / "metrics.csv").exists() for n in (0, 1)))
    wait_until(lambda: len(steps_of(tmp_path / "run1")) > 3)
    sweep.send_signal(number)
    output = sweep.communicate(timeout=30)[0]
    assert ("stopping: every run saves after its step" in output) == (number != signal.SIGKILL)
    assert sweep.returncode == (-number if number == signal.SIGKILL else 128 + number)
    children = [int(lives(tmp_path / f"run{n}")[0][-1]) for n in (0, 1)]
    wait_until(lambda: not any(Path(f"/proc/{child}/cmdline").exists() for child in children))
    for name in ("run0", "run1"):
        assert "stopped at step" in (tmp_path / name / "log.txt").read_text()
        run = fake_run(tmp_path, name, steps=300)
        assert run.state() == "stopped"
        # The checkpoint is of the very step at which it stopped.
        assert int((run.path / "checkpoints" / "last.ckpt").read_text()) == progress(run).step
    assert not (tmp_path / "run2").exists()


def test_two_sweeps_on_the_same_folders_make_every_run_once(tmp_path):
    sweeps = [start(tmp_path, 4, 1, 30) for _ in range(2)]
    for sweep in sweeps:
        output = sweep.communicate(timeout=60)[0]
        assert output.splitlines()[-1] == str(["finished"] * 4), output
    for number in range(4):
        assert [life[0] for life in lives(tmp_path / f"run{number}")] == ["0"]


def test_a_run_that_somebody_makes_by_hand_is_waited_for(tmp_path):
    runs = [fake_run(tmp_path, "run0", steps=100), fake_run(tmp_path, "run1")]
    by_hand = subprocess.Popen(runs[0].command(PROGRAM), env=os.environ | {"OMP_NUM_THREADS": "1"})
    wait_until(lambda: runs[0].state() == "running")
    tasks, said = launch(runs, jobs=2)
    assert by_hand.wait() == 0
    assert [task.state for task in tasks] == ["finished", "finished"]
    assert len(lives(runs[0].path)) == 1
    assert "another process has it" in said[0]


def test_a_damaged_run_is_given_to_fit_which_repairs_it(tmp_path):
    runs = [fake_run(tmp_path, "run0"), fake_run(tmp_path, "run1")]
    runs[0].path.mkdir()
    runs[0].folder.summary_file.write_text('{"steps": ')
    assert runs[0].state() == "damaged"
    tasks, _ = launch(runs)
    assert [task.state for task in tasks] == ["finished", "finished"]


def test_halving_lets_the_better_part_go_on_and_pauses_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(local, "LOOK_AGAIN", 0.1)
    runs = [fake_run(tmp_path, f"run{q}", steps=160, quality=q) for q in (4, 1, 3, 2)]
    assert rungs(runs[0], 4, 2) == [40, 80]

    def launcher(chosen, until):
        return LocalLauncher(chosen, 2, program=PROGRAM, until=until, say=lambda line: None)

    tasks, stopped = halve(runs, 2, launcher, lambda line: None)
    assert stopped is None
    assert {task.run.label: task.state for task in tasks} == {
        "run1": "finished", "run2": "paused", "run3": "paused", "run4": "paused",
    }  # fmt: skip
    reached = {run.label: progress(run).step for run in runs}
    assert reached["run1"] == 160
    assert 80 <= reached["run2"] < 160
    assert 40 <= reached["run4"] < 160
    # What was left behind goes on where it was, when the sweep is made without halving.
    done, _ = launch(runs, jobs=4)
    assert {task.state for task in done} == {"finished"}
    assert steps_of(tmp_path / "run4") == [str(step) for step in range(1, 161)]
    with pytest.raises(SweepError, match=r"lower --trainer\.val_check_interval from 5"):
        rungs(fake_run(tmp_path, "short", steps=8), 4, 2)
    misspelt = [replace(run, monitor="validation/eror") for run in runs]
    with pytest.raises(
        SweepError, match=r"no run was measured by validation/eror at step 20: did you mean validation/er"
    ):
        best(misspelt, 20, 2)
