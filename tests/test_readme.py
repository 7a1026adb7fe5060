"""The README's commands are the ones that run."""

import importlib
import re
import shlex
from pathlib import Path

import lightning as L
import torch
from noise_clips import Noise

from framework.catalogue import find
from framework.commands.usage import COMMANDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands(marker=""):
    blocks = re.findall(rf"{marker}\s*```sh\n(.*?)```", README, re.DOTALL)
    return [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]


def test_every_command_of_ours_exists():
    lines = [c for line in commands() for c in line.split("&&") if "ostinato" in c.split()[0]]
    assert len(lines) >= 8
    for line in lines:
        _, command, *arguments = shlex.split(line)
        assert command in COMMANDS
        if command in ("show", "fit", "validate", "synthesize"):
            assert find(arguments[0]).data


def test_ci_runs_the_test_command_to_the_letter():
    (command,) = commands("<!-- test command -->")
    assert command == '.venv/bin/pip install -e ".[test]" && .venv/bin/python -m pytest'
    assert "<!-- test command -->" in (ROOT / ".ci" / "run").read_text()


def test_both_commands_stand_on_the_first_screen():
    assert "ostinato fit" in "".join(commands("<!-- first command -->"))
    assert README.splitlines().index("<!-- test command -->") < 30


def test_the_generator_of_ones_own_trains(tmp_path, monkeypatch):
    (code,) = re.findall(r"<!-- own generator -->\n```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "framewise.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    system = importlib.import_module("framewise").Framewise()
    before = [p.detach().clone() for p in system.generator.parameters()]
    trainer = L.Trainer(
        max_steps=2, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu",
    )  # fmt: skip
    trainer.fit(system, datamodule=Noise())
    assert {"train/mel", "train/adversarial", "train/feature_matching"} <= set(trainer.callback_metrics)
    assert all(not torch.equal(b, p) for b, p in zip(before, system.generator.parameters(), strict=True))
    clip = {"audio": 0.1 * torch.randn(1, 1, 2000)}
    assert system.eval().synthesize(clip).shape == clip["audio"].shape
