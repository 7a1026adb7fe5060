"""Griffin-Lim as an experiment: measured and heard without training or checkpoint."""

import json

import numpy as np
import pytest
import soundfile
import torch

from framework.audio.distances import log_mel_error
from framework.catalogue import find
from framework.cli import main

NAMES = ("griffin_lim", "griffin_lim_1984", "griffin_lim_linear", "griffin_lim_consistent")


def chirp() -> torch.Tensor:
    """Return two seconds of rising harmonics over a little noise as audio `(1, 1, time)`."""
    phase = 2 * torch.pi * torch.cumsum(torch.linspace(110, 440, 44100) / 22050, 0)
    tones = sum(torch.sin(k * phase) / k for k in range(1, 12))
    return (0.2 * tones + 1e-3 * torch.randn(44100, generator=torch.Generator().manual_seed(0)))[None, None]


def test_each_keeps_more_than_the_one_before():
    audio = chirp()
    errors = []
    for name in ("griffin_lim_1984", "griffin_lim", "griffin_lim_consistent", "griffin_lim_linear"):
        system = find(name)()
        fake = system.synthesize(system.batch_from_audio(audio[..., :44000]))
        assert fake.shape == (1, 1, 44000)
        errors.append(float(log_mel_error(fake, audio[..., :44000], system.preset)))
    assert errors == sorted(errors, reverse=True)
    with pytest.raises(ValueError, match="mel_consistency_steps: there is no mel"):
        find("griffin_lim_linear")(mel_consistency_steps=1)


@pytest.mark.parametrize("name", NAMES)
def test_silence_stays_silent_and_a_clip_without_a_frame_is_refused(name):
    system = find(name)()
    assert not list(system.parameters())
    assert not system.state_dict()
    assert system.synthesize({"audio": torch.zeros(1, 1, 4096)}).abs().max() < 1e-4
    assert system.synthesize({"audio": torch.zeros(1, 1, 400)}).shape == (1, 1, 400)
    for samples in (0, 256):
        with pytest.raises(ValueError, match=f"a clip of {samples} is too short"):
            system.synthesize({"audio": torch.zeros(1, 1, samples)})


def test_the_commands_need_no_training(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "in").mkdir()
    for number in range(8):
        tone = 0.3 * np.sin(2 * np.pi * 110 * (number + 1) * np.arange(22050) / 22050)
        soundfile.write(tmp_path / "in" / f"{number}.wav", tone, 22050)
    arguments = ["griffin_lim_linear", "--data", "in"]
    assert main(["fit", *arguments, "--trainer.accelerator", "cpu"]) == 0
    (summary,) = tmp_path.glob("runs/*/*/summary.json")
    found = json.loads(summary.read_text())
    assert found["steps"] == 0
    for columns in found["clips"].values():
        assert columns["system"]["log_mel_error"] < columns["griffin_lim"]["log_mel_error"]
    assert main(["show", *arguments]) == 0
    assert "parameters of generator: 0" in capsys.readouterr().out
    assert main(["validate", *arguments]) == 0
    assert main(["synthesize", *arguments, "--input", "in/0.wav", "--output", "out"]) == 0
    assert "no weights" in capsys.readouterr().out
    assert soundfile.info(tmp_path / "out" / "0.wav").frames == 22050
