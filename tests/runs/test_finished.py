"""A run is finished when its last checkpoint is there to show it, and a run that was stopped is not."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import tracemalloc
import zipfile

import pytest
import torch
from test_survival import Run, same

from framework.runs.checkpoints import CheckpointError, read_checkpoint
from framework.runs.finished import checkpoint_step, is_whole
from framework.runs.folder import RunError, RunFolder
from framework.sweeps.record import PlannedRun

LENGTH = ("--data.batch_size=16", "--trainer.val_check_interval=2", "--trainer.max_steps=6")


def save(path, step, numbers=1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {"layer.weight": torch.rand(numbers), "half": torch.ones(3, dtype=torch.bfloat16)}
    torch.save({"state_dict": weights, "global_step": step, "epoch": torch.Size([2])}, path)


def test_a_checkpoints_step_is_read_without_its_tensors_and_damage_is_seen(tmp_path):
    path = tmp_path / "last.ckpt"
    assert checkpoint_step(path) is None
    save(path, 41)
    assert (checkpoint_step(path), is_whole(path)) == (41, True)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-30], b"", b"no archive"):
        path.write_bytes(damaged)
        assert (checkpoint_step(path), is_whole(path)) == (None, False)
    flipped = bytearray(whole)
    flipped[whole.index(torch.load(_written(path, whole))["state_dict"]["layer.weight"].numpy().tobytes()) + 5] ^= 1
    path.write_bytes(flipped)
    assert (checkpoint_step(path), is_whole(path)) == (41, False), "a byte of a tensor is verified once, at the end"


def _written(path, content):
    path.write_bytes(content)
    return path


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    with zipfile.ZipFile(tmp_path / "last.ckpt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"trap": Trap(), "global_step": 3}, protocol=2))
    assert checkpoint_step(tmp_path / "last.ckpt") == 3
    assert not (tmp_path / "sprung").exists()


NUMBERS = pickle.dumps({"global_step": 3}, protocol=2)


@pytest.mark.parametrize(
    ("content", "compression"),
    [
        (b"\x80\x02" + b"]q\x00" * 1_000_000 + NUMBERS[2:], zipfile.ZIP_DEFLATED),
        (b"\x80\x02]r\xff\xff\xff\x1f.", zipfile.ZIP_STORED),
        (b"\x80\x04\x8e" + (1 << 36).to_bytes(8, "little") + b".", zipfile.ZIP_STORED),
        (b"\x80\x05\x96" + (1 << 62).to_bytes(8, "little") + b".", zipfile.ZIP_STORED),
        (b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", zipfile.ZIP_STORED),
    ],
    ids=["compressed", "memo", "bytes", "bytearray", "nested"],
)
def test_a_checkpoint_that_claims_to_be_large_takes_no_memory(tmp_path, content, compression):
    path = tmp_path / "last.ckpt"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", content)
    tracemalloc.start()
    assert checkpoint_step(path) is None
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()
    assert is_whole(path) == (compression == zipfile.ZIP_STORED)
    with pytest.raises(CheckpointError, match="is cut short or no checkpoint"):
        read_checkpoint(path)


def test_deeply_nested_keys_do_not_end_the_process(tmp_path):
    """In a process of its own: a recursion in C is no exception, but ends the process."""
    path = tmp_path / "last.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02})" + b"\x85" * 1_000_000 + b"K\x01s.")
    code = "import sys; from framework.runs.finished import checkpoint_step; print(checkpoint_step(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "None\n")


def test_entries_that_overlap_are_not_read_one_by_one(tmp_path):
    path = tmp_path / "last.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", NUMBERS)
        archive.writestr("archive/data/0", bytes(10_000))
        entry = archive.getinfo("archive/data/0")
        archive.filelist += [entry] * 100
    assert (checkpoint_step(path), is_whole(path)) == (None, False)
    with pytest.raises(CheckpointError, match="it holds more than its size"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "compression"),
    [(b"]" * 1_000_000 + b".", zipfile.ZIP_DEFLATED), (b"]r\xff\xff\xff\x1f.", zipfile.ZIP_STORED)],
    ids=["compressed", "memo"],
)
def test_a_torchscript_file_that_claims_to_be_large_takes_no_memory(tmp_path, content, compression):
    path = tmp_path / "weights.ts"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
        archive.writestr("archive/data.pkl", b"\x80\x02" + content)
    tracemalloc.start()
    with pytest.raises(CheckpointError, match="is cut short or no checkpoint"):
        read_checkpoint(path)
    assert tracemalloc.get_traced_memory()[1] < 64 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("summary", "config", "held", "state"),
    [
        ({"state": "finished", "steps": 40}, {}, 40, "finished"),
        ({"state": "finished", "steps": 40}, {}, 8, "stopped"),
        ({"state": "finished", "steps": 40}, {}, None, "damaged"),
        ({"state": "finished", "steps": 0}, {}, None, "finished"),
        # Summaries of earlier versions: of finished runs, of one stopped early, of one on a full disk, of no weights.
        ({"steps": 40}, {"trainer": {"max_steps": 40}}, 40, "finished"),
        ({"steps": 30}, {"trainer": {"max_steps": -1, "max_epochs": 3}}, 30, "finished"),
        ({"steps": 12}, {"trainer": {"max_steps": 40}}, 12, "stopped"),
        ({"steps": 40}, {"trainer": {"max_steps": 40}}, 8, "stopped"),
        ({"steps": 0}, {"trainer": {"max_steps": 1_000_000}}, None, "finished"),
    ],
)
def test_what_counts_as_finished(tmp_path, summary, config, held, state):
    folder = RunFolder(tmp_path / "run")
    folder.write_config(config)
    folder.write_summary(summary)
    if held is not None:
        save(folder.checkpoints / "last.ckpt", held)
    assert (folder.summary() == summary) == (state == "finished")
    assert PlannedRun("", "", (), folder.path, "", "", 0).state() == state


def test_the_end_of_a_run_is_read_back(tmp_path):
    folder = RunFolder(tmp_path)
    last = folder.checkpoints / "last.ckpt"
    with pytest.raises(RunError, match=r"has made 40 steps, but .*last\.ckpt is not there: make room on the disk"):
        folder.end(40)
    save(last, 8)
    with pytest.raises(RunError, match=r"has made 40 steps, but .*last\.ckpt is of step 8: make room on the disk"):
        folder.end(40)
    save(last, 40)
    assert folder.end(40) == last.stat().st_size
    folder.write_summary({"state": "finished", "steps": 40, "checkpoint_bytes": last.stat().st_size})
    assert folder.summary()
    last.write_bytes(last.read_bytes()[:-500])
    assert folder.summary() is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return Run(tmp_path_factory.mktemp("ends") / "finished", *LENGTH).finish()


def folder_of(run):
    return RunFolder(run.checkpoints.parent)


def test_a_finished_run_says_how_it_ended_and_is_trained_again_as_far_as_it_is_lost(finished, tmp_path):
    summary = folder_of(finished).summary()
    assert (summary["state"], summary["ended_by"], summary["planned"], summary["steps"]) == (
        "finished", "max_steps", 6, 6,
    )  # fmt: skip
    run = Run(tmp_path / "copy", *LENGTH)
    shutil.copytree(finished.folder / "runs", run.folder / "runs")
    last = run.checkpoints / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-500])
    same(run.finish(), finished)
    assert "continuing from previous.ckpt" in run.said
    shutil.rmtree(run.checkpoints)
    assert run.start().wait(120) == 2
    assert "was finished and has lost its checkpoints: put runs/" in run.said
    assert "or add --rerun" in run.said


def test_a_run_whose_weights_are_not_finite_has_diverged(tmp_path):
    run = Run(tmp_path / "diverged", "--trainer.max_steps=2", "--model.learning_rate=1e300", "--model.warmup_steps=0")
    assert run.start().wait(120) == 2
    assert "the training has diverged: at step 2, " in run.said
    assert "lower --model.learning_rate" in run.said
    assert folder_of(run).summary() is None


def test_a_run_that_an_earlier_version_took_for_finished_goes_on(finished, tmp_path):
    run = Run(tmp_path / "stopped", *LENGTH)
    run.stop_at(2, lambda process: process.process.terminate())
    reached = checkpoint_step(run.checkpoints / "last.ckpt")
    assert 2 <= reached < 6
    folder_of(run).write_summary({"steps": reached, "minutes": 0.1, "clips": {}})
    same(run.finish(), finished)
    assert folder_of(run).summary()["steps"] == 6


def test_a_time_limit_ends_a_session_and_not_the_run(tmp_path):
    run = Run(tmp_path / "timed", *LENGTH[:2], "--trainer.max_steps=100000", "--trainer.max_time=00:00:00:01")
    reached = [0]
    for _ in range(2):
        assert run.start().wait(120) == 75, run.said
        reached.append(checkpoint_step(run.checkpoints / "last.ckpt"))
        line = f"stopped at step {reached[-1]} of 100000 (--trainer.max_time): the same command continues from there"
        assert line in run.said
        assert not folder_of(run).summary_file.exists()
    assert 0 < reached[1] < reached[2], "each session has the time for itself"
    assert all(int(row["step"]) % 2 == 0 for row in run.rows() if row.get("validation/log_mel_error"))


def test_early_stopping_finishes_a_run_once(tmp_path):
    rule = ("EarlyStopping", "monitor=validation/log_mel_error", "stopping_threshold=1000")
    run = Run(tmp_path / "early", *LENGTH, *(f"--trainer.callbacks{'.' if '=' in r else '+='}{r}" for r in rule))
    run.finish()
    summary = json.loads(folder_of(run).summary_file.read_text())
    assert (summary["steps"], summary["planned"]) == (2, 6)
    assert summary["ended_by"].startswith("Stopping threshold reached")
    run.finish()
    assert "is finished (2 steps)" in run.said
    # A run that is killed before it was measured has ended all the same.
    folder_of(run).summary_file.unlink()
    run.finish()
    assert folder_of(run).summary()["steps"] == 2
