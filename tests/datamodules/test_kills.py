"""`ostinato fit` killed again and again trains on the clips of an uninterrupted run; two ranks share its batches."""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datamodules.shards import ShardWriter, write_manifest

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

    def terms(self, batch):
        return {"l1": (self.generator(self.condition(batch)) - batch["audio"]).abs().mean()}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.001)
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


def start(place, name, *arguments):
    """Start a run in a folder of its own, in which it writes down what it trains on."""
    home = place / name
    home.mkdir(exist_ok=True)
    (home / "experiments").mkdir(exist_ok=True)
    (home / "experiments" / "__init__.py").touch()
    (home / "experiments" / "killed.py").write_text(EXPERIMENT)
    hidden = {"WANDB_API_KEY", "WANDB_MODE", "CUDA_VISIBLE_DEVICES"}
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    environment = kept | {"OSTINATO_CACHE": str(place / "cache"), "HOME": str(place), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(home)
    command = [OSTINATO, "fit", "killed", "--data", "../data", "--data.batch_size=4", "--data.segment=2048"]
    return subprocess.Popen(
        [*command, "--trainer.accelerator=cpu", *arguments],
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output = process.communicate(timeout=200)[0]
    assert process.returncode == 0, output


def trained(place, name, rank=0):
    file = place / name / f"trained{rank}.txt"
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture(scope="module")
def uninterrupted(place):
    finish(start(place, "uninterrupted"))
    steps = trained(place, "uninterrupted")
    assert [int(step[0]) for step in steps] == list(range(STEPS))
    return steps


def test_a_run_killed_at_random_trains_on_the_same_clips(place, uninterrupted):
    draw = random.Random(0)
    for _ in range(3):
        process = start(place, "killed")
        begun, wanted = len(trained(place, "killed")), draw.randint(8, 22)
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if len(trained(place, "killed")) >= begun + wanted:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    finish(start(place, "killed"))
    lives = trained(place, "killed")
    assert all(step == uninterrupted[int(step[0])] for step in lives)
    # A life goes on where a checkpoint of the one before was made, so that the last word on each step is complete.
    assert sorted({int(step[0]) for step in lives}) == list(range(STEPS))
    restarts = [int(b[0]) for a, b in itertools.pairwise(lives) if int(b[0]) != int(a[0]) + 1]
    assert restarts
    assert all(restart % 7 == 0 for restart in restarts)


def test_two_ranks_see_the_batches_of_one(place, uninterrupted):
    finish(start(place, "ranks", "--trainer.devices=2", "--trainer.strategy=ddp"))
    first, second = (trained(place, "ranks", rank) for rank in range(2))
    assert [[a[0], *a[1:3], *b[1:3], *a[3:], *b[3:]] for a, b in zip(first, second, strict=True)] == uninterrupted
