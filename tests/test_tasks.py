"""Every example of docs/tasks.md runs and does what its heading says."""

import importlib
import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from noise_clips import Noise

import ostinato as ost
from framework import commands
from framework.audio.files import load_audio, save_audio
from framework.audio.mel import preset
from framework.cli import main
from framework.evaluation.metrics.metric import Clip
from framework.evaluation.metrics.shelf import metrics_named
from framework.export.release import release
from framework.generators.mel_inversion import MelInversion

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "tasks.md").read_text()
SMALL = {"channels": 8, "upsample_rates": (16, 16), "upsample_kernels": (32, 32)}
"""Of a HiFi-GAN."""


def code(task):
    (found,) = re.findall(rf"<!-- task: {task} -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    return found


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A working directory with recordings, where modules that a task writes are found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    for name in ("a.wav", "b.wav", "c.wav", "song.wav"):
        save_audio(Path(name), 0.1 * torch.randn(1, 12_000), 22050)
    before = set(sys.modules)
    yield tmp_path
    for name in {name for name in set(sys.modules) - before if "." not in name and (tmp_path / f"{name}.py").exists()}:
        del sys.modules[name]


def module(place, name, task):
    """Return the module that a task's code is."""
    (place / f"{name}.py").write_text(code(task))
    return importlib.import_module(name)


def trainer(steps):
    return L.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip


def test_a_loss_is_weighted_and_logged(place):
    system = module(place, "with_waveform", "loss").WithWaveform(**SMALL)
    used = trainer(1)
    used.fit(system, datamodule=Noise())
    logged = used.callback_metrics
    assert 0 < logged["train/waveform"] < 10
    total = system.mel_weight * logged["train/mel"] + 10.0 * logged["train/waveform"]
    torch.testing.assert_close(logged["train/generator"], total, rtol=1e-4, atol=0)


def test_a_data_set_is_packed_and_trained_on(place):
    data = module(place, "sines", "data set").Sines(clips=4, segment=2048, batch_size=2)
    used = trainer(2)
    used.fit(MelInversion(channels=8, hidden=8, layers=1), datamodule=data)
    assert used.global_step == 2
    assert data.fingerprint() == data.manifest["hash"][:16]
    (first, *_) = data.val_dataloader()
    assert first["audio"].abs().max().item() == pytest.approx(0.95, abs=0.02)  # AudioData scales clips to this peak


def test_a_metric_is_found_by_its_import_path(place):
    module(place, "my_metrics", "metric")
    (metric,) = metrics_named(["my_metrics.PEAK"])
    one, other = (Clip(peak * torch.ones(1, 1, 100), preset("hifigan_22k")) for peak in (0.5, 0.25))
    assert metric.measure(one, other) == pytest.approx(0.25)
    assert metric.measure(one, one) == metric.perfect


def test_a_command_has_help_and_runs(place, monkeypatch, capsys):
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(place)])
    (place / "length.py").write_text(code("command"))
    assert main(["--help"]) == 0
    assert "  length FOLDER " in capsys.readouterr().out
    assert main(["length", "--help"]) == 0
    assert "Print the total length" in capsys.readouterr().out
    assert main(["length", "."]) == 0
    assert capsys.readouterr().out == f"{4 * 12_000 / 22_050:.1f} s\n"
    assert main(["length"]) == 2


def test_the_learning_rate_is_found_and_overridden(place, capsys):
    assert main(["show", "hifigan_bach"]) == 0
    (line,) = re.findall(r"^ *model\.learning_rate .*$", capsys.readouterr().out, re.MULTILINE)
    assert "0.002" in line
    assert "HiFiGANBach" in line
    system = module(place, "inverse", "learning rate").WithInverseSquareRoot(**SMALL)
    rates = []
    system.log_dict = lambda values, **_: rates.extend(v for n, v in values.items() if n == "learning_rate/generator")
    trainer(3).fit(system, datamodule=Noise())
    assert [float(rate) for rate in rates] == pytest.approx([0.002 / step**0.5 for step in (1, 2, 3)])


def test_a_list_of_files_is_trained_on(place):
    small = code("list of files").replace("b.mp3", "b.wav").replace("c.flac", "c.wav")
    small = small.replace("channels=96", "channels=8, hidden=8, layers=1")
    found = {"trainer": trainer}
    exec(small.replace("L.Trainer(max_steps=500)", "trainer(2)"), found)
    assert found["system"].trainer.global_step == 2


def without_pandas(task):
    """Return a task's code without the lines that draw, or that need pandas where it is not installed."""
    unwanted = [".plot("] if importlib.util.find_spec("pandas") else [".plot(", ".table()"]
    return "\n".join(line for line in task.splitlines() if not any(word in line for word in unwanted))


def test_runs_are_opened_and_compared(place, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (place / "takes").mkdir()
    for number in range(4):
        save_audio(place / "takes" / f"{number}.wav", 0.1 * torch.randn(1, 12_000), 22050)
    settings = {
        "hidden": 8, "layers": 1, "iterations": 1, "batch_size": 2, "segment": 2048, "validation_clips": 1,
        "max_steps": 2, "val_check_interval": 1, "accelerator": "cpu",
    }  # fmt: skip
    run, narrow = (ost.train("mel_inversion_bach", data="takes", channels=width, **settings) for width in (8, 4))
    found = {}
    exec(without_pandas(code("open a run")).replace('"mel_inversion_bach"', repr(str(run.path))), found)
    assert [step for step, error in found["curve"] if not math.isnan(error)] == [1, 2]
    exec(without_pandas(code("compare")), found)
    assert {one.path.name for one in found["runs"]} == {run.path.name, narrow.path.name}
    rows = found["comparison"].rows()
    assert {row["metric"] for row in rows} == {"log_mel_error", "stft_distance"}
    assert len({row["run"] for row in rows}) >= 2


WITHOUT = (
    "import sys\nfor name in ('lightning', 'pytorch_lightning', 'wandb', 'webdataset'): sys.modules[name] = None\n"
)


def test_a_release_is_used_without_lightning(place):
    system = MelInversion(channels=8, hidden=8, layers=1, iterations=2).eval()
    facts = {"experiment": "experiments.mel_inversion_bach", "step": 0, "run": "0", "family": None, "data": None}
    release(system, place / "mel_inversion_bach.safetensors", facts)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", WITHOUT + code("release")], cwd=place, check=True, env=environment)
    generated, expected = (
        load_audio("generated.wav", 22050),
        system.synthesize({"audio": load_audio("song.wav", 22050)[None]}),
    )
    torch.testing.assert_close(generated, expected[0], rtol=0, atol=2 / 32768)
