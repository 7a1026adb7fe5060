"""A real Trainer with every callback: trained, stopped, resumed; files, rows and W&B's own file are read back."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image
from wandb_file import read

TRAINING = """
import sys
from pathlib import Path

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from framework.audio.mel import preset
from framework.audio.distances import log_mel_error, stft_distance
from framework.tracking.callbacks import AudioSamples, StepCount, StepProgress, Throughput
from framework.tracking.csv_log import CSVLog
from framework.tracking.wandb_log import wandb_logger

torch.set_num_threads(1)
folder, steps = Path(sys.argv[1]), int(sys.argv[2])


class Clips(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        audio = 0.1 * torch.randn(1, 8192, generator=torch.Generator().manual_seed(index))
        return {"audio": audio, "key": f"bwv/{index}"}


class Gain(L.LightningModule):
    preset = preset("hifigan_22k")

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.gain = torch.nn.Parameter(torch.ones(()))

    def training_step(self, batch, index):
        loss = (self.gain * batch["audio"]).square().mean()
        optimizer = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        self.log("train/mel", loss, prog_bar=True)

    def validation_step(self, batch, index):
        real = batch["audio"][0]
        fake = real * float("nan") if batch["key"][0] == "bwv/1" and self.global_step == 4 else real / 2
        distances = {"log_mel_error": log_mel_error(fake[None], real[None], self.preset)}
        distances["stft_distance"] = stft_distance(fake[None], real[None])
        self.log_dict({f"validation/{name}": value for name, value in distances.items()}, batch_size=1)
        clip = {"key": batch["key"][0], "real": real, "fake": fake, "sample_rate": 22050, "preset": self.preset}
        return clip | {"reconstructs_input": True, "measures": {}, "pictures": {}}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


StepProgress.VALUES_EVERY = 0.0
config = {"model": {"mel_weight": 45.0, "upsample_rates": (8, 8)}, "data": {"segment": 8192}}
wandb_log = wandb_logger(folder, "a1b2c3", "gain-family", "gain", config, "ostinato-test")
checkpoints = L.pytorch.callbacks.ModelCheckpoint(folder / "checkpoints", every_n_train_steps=4, save_top_k=-1)
trainer = L.Trainer(
    accelerator="cpu", max_steps=steps, max_epochs=-1, log_every_n_steps=1, val_check_interval=2,
    check_val_every_n_epoch=None, num_sanity_val_steps=1, enable_model_summary=False,
    logger=[CSVLog(folder), wandb_log],
    callbacks=[StepCount(), Throughput(), AudioSamples(folder / "audio", 2), StepProgress(), checkpoints],
)
last = sorted(folder.glob("checkpoints/*step=4.ckpt"))
trainer.fit(Gain(), DataLoader(Clips(), 2), DataLoader(Clips(), 1), ckpt_path=last[-1] if last else None)
wandb_log.finish()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> tuple[Path, list[dict], list[subprocess.CompletedProcess]]:
    """Train to step 6, then again to step 8 from the checkpoint of step 4; return what W&B recorded of each."""
    folder = tmp_path_factory.mktemp("run")
    home = tmp_path_factory.mktemp("home")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB") and k != "NETRC"}
    recorded, processes = [], []
    for steps in (6, 8):
        process = subprocess.run(
            [sys.executable, "-c", TRAINING, str(folder), str(steps)],
            env=environment | {"HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert process.returncode == 0, process.stderr
        recorded.append(read(folder))
        processes.append(process)
    return folder, recorded, processes


def test_rows_count_generator_updates_once_across_the_resume(runs):
    with (runs[0] / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows if row["train/mel"]] == [1, 2, 3, 4, 5, 6, 7, 8]
    validated = [row for row in rows if row["validation/log_mel_error"]]
    assert [int(row["step"]) for row in validated] == [2, 4, 6, 8]
    assert float(validated[0]["validation/log_mel_error"]) == pytest.approx(np.log(2), abs=1e-3)
    assert float(validated[0]["validation/stft_distance"]) == pytest.approx(0.5 + np.log(2), abs=1e-2)
    assert float(rows[-2]["speed/audio_seconds_per_second"]) > 0


def test_audio_and_pictures_of_the_first_clips_are_files(runs):
    folder = runs[0] / "audio"
    assert sorted(os.listdir(folder)) == ["bwv_0", "bwv_1"]
    steps = [f"step_{step:08d}.{kind}" for step in (2, 4, 6, 8) for kind in ("png", "wav")]
    assert sorted(os.listdir(folder / "bwv_0")) == [*steps, "truth.wav"]
    assert set(os.listdir(folder / "bwv_1")) == {*steps, "truth.wav"} - {"step_00000004.wav"}
    assert "warning: step 4: bwv/1 has NaN or infinite samples: no audio is written" in runs[2][0].stderr
    truth, fake = (soundfile.read(folder / "bwv_0" / name)[0] for name in ("truth.wav", "step_00000008.wav"))
    assert np.abs(fake - truth / 2).max() < 1e-4
    picture = np.asarray(Image.open(folder / "bwv_0" / "step_00000008.png").convert("RGB"), float)
    assert picture.std() > 10


def test_wandb_is_offline_without_key_and_keeps_everything_in_the_run_folder(runs):
    _, (first, second), processes = runs
    for recorded, process in zip((first, second), processes, strict=True):
        run = recorded["run"]
        assert (run.run_id, run.run_group, run.display_name) == ("a1b2c3", "gain-family", "gain")
        assert (run.project, run.job_type) == ("ostinato-test", "train")
        expected = {"model.mel_weight": 45.0, "model.upsample_rates": [8, 8], "data.segment": 8192}
        assert {k: v for k, v in recorded["config"].items() if k != "_wandb"} == expected
        lines = (process.stdout + process.stderr).splitlines()
        said = [line for line in lines if ("W&B" in line or "wandb" in line) and "ing W&B ..." not in line]
        assert len(said) == 1
        assert "offline (no API key" in said[0]
    steps = [row["trainer/global_step"] for row in second["history"]]
    assert steps == sorted(steps)
    assert {row["trainer/global_step"] for row in second["history"] if "train/mel" in row} == {5, 6, 7, 8}
    media = [row for row in first["history"] if "validation/audio/bwv/0" in row]
    assert [row["trainer/global_step"] for row in media] == [2, 4, 6]
    assert ["validation/audio/bwv/0/truth" in row for row in media] == [True, False, False]
    for name in ("validation/audio/bwv/0", "validation/audio/bwv/0/log_mel", "validation/audio/bwv/1/truth"):
        assert (first["files"] / media[0][name]["path"]).stat().st_size > 1000


def test_progress_without_a_terminal_is_plain_lines_of_steps(runs):
    first, *_, last = [line for line in runs[2][1].stderr.splitlines() if line.startswith("training: ")]
    assert first == "training: 4 of 8 steps, 0:00 elapsed"
    assert last.startswith("training: 8 of 8 steps, ")
    assert "steps/s, mel 0.0" in last
