"""`ostinato fit` killed again and again trains on the clips of an uninterrupted run."""

import itertools
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from nursery import Child

from datamodules.shards.writer import ShardWriter, write_manifest

OSTINATO = Path(sys.executable).with_name("ostinato")
STEPS = 60

EXPERIMENT = '''
import time

import torch
from datamodules.audio_folder import AudioFolder
from framework.paradigms.system import System


class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hop_length = 256
        self.layer = torch.nn.Conv1d(80, 256, 1)

    def forward(self, mel):
        return self.layer(mel).transpose(1, 2).flatten(1)[:, None]


class Killed(System):
    """A small network that writes down what it is trained on."""

    data = AudioFolder
    val_check_interval = 7
    max_steps = 60

    def build_generator(self):
        return Plain()

    def training_step(self, batch, index):
        assert batch["audio"].dtype == torch.float32 and batch["audio"].shape[1:] == (1, 2048)
        assert 0.01 < batch["audio"].abs().max() <= 1
        time.sleep(0.01)
        with open(f"trained{self.global_rank}.txt", "a") as file:
            starts = batch["start"].tolist()
            file.write(" ".join([str(self.global_step), *batch["key"], *map(str, starts)]) + "\\n")
        super().training_step(batch, index)

    def training_losses(self, batch):
        return {"l1": (self.generator(self.condition(batch)) - batch["audio"]).abs().mean()}
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills")
    noise = np.random.default_rng(0)
    for split, count in (("train", 50), ("validation", 2)):
        with ShardWriter(folder / "data", split, shard_bytes=50_000) as writer:
            for number in range(count):
                writer.write(f"{split}{number}", noise.uniform(-0.5, 0.5, int(noise.integers(3000, 9000))), 22050)
    write_manifest(folder / "data")
    return folder


ARGUMENTS = ("killed", "--data", "../data", "--data.batch_size=4", "--data.segment=2048", "--trainer.accelerator=cpu")


def environment(place, home):
    hidden = {"WANDB_API_KEY", "CUDA_VISIBLE_DEVICES"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    own = {
        "WANDB_MODE": "disabled",
        "OSTINATO_CACHE": str(place / "cache"),
        "HOME": str(place),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(home),
    }
    return kept | own


def make_home(place, name):
    """Make a folder of its own for a run, in which it writes down what it trains on."""
    home = place / name
    (home / "experiments").mkdir(exist_ok=True, parents=True)
    (home / "experiments" / "__init__.py").touch()
    (home / "experiments" / "killed.py").write_text(EXPERIMENT)
    return home


def start(place, name, *arguments):
    """Start a run."""
    home = make_home(place, name)
    return Child(OSTINATO, ["fit", *ARGUMENTS, *arguments], home, environment(place, home))


def trained(place, name, rank=0):
    file = place / name / f"trained{rank}.txt"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="module")
def uninterrupted(place):
    assert start(place, "uninterrupted").wait(200) == 0, (place / "uninterrupted" / "output.txt").read_text()
    steps = trained(place, "uninterrupted")
    assert [int(step[0]) for step in steps] == list(range(STEPS))
    return steps


def test_a_run_killed_at_random_trains_on_the_same_clips(place, uninterrupted):
    draw = random.Random(0)
    for workers in (0, 2, 0, 1):
        begun, wanted = len(trained(place, "killed")), draw.randint(5, 14)
        process = start(place, "killed", f"--data.workers={workers}")
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(trained(place, "killed")) >= begun + wanted:
                break
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, (place / "killed" / "output.txt").read_text()
    assert start(place, "killed").wait(100) == 0, (place / "killed" / "output.txt").read_text()
    lives = trained(place, "killed")
    assert all(step == uninterrupted[int(step[0])] for step in lives)
    # A life goes on where a checkpoint of the one before was made, so that the last word on each step is complete.
    assert sorted({int(step[0]) for step in lives}) == list(range(STEPS))
    restarts = [int(b[0]) for a, b in itertools.pairwise(lives) if int(b[0]) != int(a[0]) + 1]
    assert len(restarts) >= 3
    assert all(restart % 7 == 0 for restart in restarts)
