"""`ostinato sweep` with real training: planned, killed in the middle, finished, not made again; the same on Slurm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from datamodules.shards.writer import ShardWriter, write_manifest

OSTINATO = Path(sys.executable).with_name("ostinato")
FIXED = {
    "model.channels": 8, "model.upsample_rates": [16, 16], "model.upsample_kernels": [32, 32], "model.kernels": [3],
    "model.dilations": [[1]], "model.adversarial_start": 1000, "data.batch_size": 2, "data.segment": 1024,
    "data.validation_clips": 1, "trainer.max_steps": 60, "trainer.val_check_interval": 20,
    "trainer.log_every_n_steps": 1, "trainer.accelerator": "cpu",
}  # fmt: skip


def slurm_answers():
    return bool(shutil.which("sbatch") and subprocess.run(["scontrol", "ping"], capture_output=True).returncode == 0)


@pytest.fixture
def place(tmp_path):
    """Return a folder with data and a sweep of two runs."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 20), ("validation", 1)):
        with ShardWriter(tmp_path / "data", split) as writer:
            for number in range(count):
                writer.write(f"{split}{number}", noise.uniform(-0.5, 0.5, 4000), 22050)
    write_manifest(tmp_path / "data")
    parameters = {name: {"value": value} for name, value in FIXED.items()}
    parameters |= {"data": {"value": "data"}, "model.mel_weight": {"values": [15, 45]}}
    sweep = {"command": ["ostinato", "fit", "hifigan_bach"], "parameters": parameters}
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(sweep))
    return tmp_path


def start(place, *arguments):
    environment = os.environ | {"OSTINATO_CACHE": str(place / "cache"), "HOME": str(place), "WANDB_MODE": "disabled"}
    environment |= {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    return subprocess.Popen(
        [OSTINATO, *map(str, arguments)], cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip


def ostinato(place, *arguments):
    process = start(place, *arguments)
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    return output


def steps(folder):
    rows = (folder / "metrics.csv").read_text().splitlines() if (folder / "metrics.csv").exists() else []
    return [
        int(row.split(",")[rows[0].split(",").index("step")]) for row in rows[1:] if row.endswith(",") or "," in row
    ]


def wait_for_steps(place, count, process=None):
    """Return the folder of a run that has come so far."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        for folder in place.glob("runs/hifigan_bach/*"):
            if max(steps(folder), default=0) >= count and not (folder / "summary.json").exists():
                return folder
        assert process is None or process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    raise AssertionError("no run came so far")


def check_finished(place):
    folders = [path.parent for path in place.glob("runs/hifigan_bach/*/summary.json")]
    assert len(folders) == 2
    for folder in folders:
        assert json.loads((folder / "summary.json").read_text())["steps"] == 60
        # Every step once, whatever happened in between.
        assert sorted(set(steps(folder))) == list(range(1, 61))
        saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
        assert saved["global_step"] == 60


def test_a_sweep_whose_child_is_killed_finishes_and_is_not_made_again(place):
    sweep = start(place, "sweep", "small.yaml", "--jobs", "2")
    folder = wait_for_steps(place, 25, sweep)
    os.kill(int((folder / ".lock").read_text().split()[0]), signal.SIGKILL)
    output = sweep.communicate(timeout=300)[0]
    assert sweep.returncode == 0, output
    assert "2 runs, 0 finished, 2 to make: cost of 2 unknown" in output
    assert "ended by SIGKILL" in output
    assert "goes on from step" in output
    assert "2 of 2 runs finished" in output
    assert "continuing from last.ckpt" in (folder / "log.txt").read_text()
    check_finished(place)
    commands = ostinato(place, "sweep", "small.yaml", "--print-commands", "--trainer.max_steps=30")
    assert "2 runs, 0 finished, 2 to make" in commands
    assert "of training on a device" in commands
    written = [line for line in commands.splitlines() if line.startswith("ostinato fit hifigan_bach ")]
    assert len(written) == 2
    assert "--model.mel_weight=45" in written[1]
    assert "small: 2 finished" in ostinato(place, "status")


@pytest.mark.skipif(not slurm_answers(), reason="there is no Slurm here")
def test_slurm_jobs_are_preempted_put_back_and_finish(place):
    pytest.importorskip("submitit")
    output = ostinato(place, "sweep", "small.yaml", "--launcher", "slurm", "--jobs", "2", "--slurm", "time=10", "mem=0")
    assert "submitted: " in output
    job = json.loads(next(place.glob("runs/hifigan_bach/*/slurm.json")).read_text())["job"].partition("_")[0]
    try:
        folder = wait_for_steps(place, 25)
        preempted = json.loads((folder / "slurm.json").read_text())["job"]
        subprocess.run(["scancel", "--signal=USR1", preempted], check=True)
        deadline = time.monotonic() + 200
        while len(list(place.glob("runs/hifigan_bach/*/summary.json"))) < 2:
            assert time.monotonic() < deadline, (folder / "log.txt").read_text()
            # A job that was put back waits two minutes otherwise.
            subprocess.run(["scontrol", "update", f"jobid={preempted}", "StartTime=now"], capture_output=True)
            time.sleep(1)
        log = (folder / "log.txt").read_text()
        assert "SIGUSR1: stopping after this step" in log
        assert "continuing from last.ckpt" in log
        check_finished(place)
    finally:
        subprocess.run(["scancel", job], check=False)
