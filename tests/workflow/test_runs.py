"""Runs are found and opened in one way by every command: by name and values, folder, checkpoint, or release."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

from datamodules.bach_chorales import BachChorales
from framework.cli import main
from framework.commands import command, names
from framework.hyperparameters import Hyperparameters
from framework.paradigms.system import System
from framework.runs.finding import list_runs, runs_of
from framework.runs.folder import folder_names, run_folder
from framework.runs.identity import same_but_data
from framework.runs.stored_files import read_metrics
from framework.workflow.experiment import open_experiment
from framework.workflow.run import ReleasedRun
from framework.workflow.runs import open_run

SMALL = [
    "--model.channels=8", "--model.upsample_rates=[16,16]", "--model.upsample_kernels=[32,32]", "--model.kernels=[3]",
    "--model.dilations=[[1]]", "--data.batch_size=2", "--data.segment=2048", "--data.validation_clips=1",
    "--trainer.max_steps=6", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu",
]  # fmt: skip
NAMED = ["hifigan_bach", "--data", "a", *SMALL]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder in which a run was trained, whose best checkpoint is not its last, and the run was released."""
    folder = tmp_path_factory.mktemp("place")
    for name, shift in (("a", 0), ("b", 7)):
        (folder / name).mkdir()
        for number in range(4):
            tone = 0.3 * np.sin(2 * np.pi * (300 + 50 * number + shift) * np.arange(22050) / 22050)
            soundfile.write(folder / name / f"{number}.wav", tone, 22050)
    with pytest.MonkeyPatch.context() as patched:
        enter(patched, folder)
        assert main(["fit", *NAMED]) == 0
        (run,) = folder.glob("runs/*/*")
        # The best one is the one of step 4, as if the last had been worse.
        shutil.copyfile(run / "checkpoints" / "previous.ckpt", run / "checkpoints" / "best.ckpt")
        assert main(["release", str(run), "--output", "last.safetensors"]) == 0
    return folder


def enter(patched, folder):
    patched.chdir(folder)
    patched.setenv("OSTINATO_CACHE", str(folder / "cache"))
    patched.setenv("WANDB_MODE", "disabled")


@pytest.fixture
def there(place, monkeypatch):
    enter(monkeypatch, place)
    return place


@pytest.fixture
def run(there):
    (config,) = Path("runs").glob("hifigan_bach/*/config.yaml")
    return config.parent


def said(capsys, *arguments, status=0):
    """Return what a command prints; of a refused one the line with the error."""
    capsys.readouterr()
    assert main(list(map(str, arguments))) == status
    printed = capsys.readouterr()
    return printed.out if status == 0 else [line for line in printed.err.splitlines() if "error:" in line][-1]


def test_a_checkpoint_is_chosen_by_name_or_step_and_printed(run, capsys):
    for ckpt, name, step in (("last", "last", 6), ("best", "best", 4), ("6", "last", 6), ("4", "previous", 4)):
        lines = said(capsys, "validate", *NAMED, "--ckpt", ckpt).splitlines()
        assert lines[0] == f"{run}/checkpoints/{name}.ckpt, step {step}"
        numbers = [line for line in lines if line.strip().startswith("system")]
        own = open_run(run, int(ckpt) if ckpt.isdecimal() else ckpt).load()
        expected = open_run(run / "checkpoints" / f"{name}.ckpt").load()
        assert all(torch.equal(a, b) for a, b in zip(own.parameters(), expected.parameters(), strict=True))
        assert numbers
    assert f"{run} has no checkpoint of step 5" in said(capsys, "validate", run, "--ckpt", "5", status=2)
    assert "best.ckpt of step 4, last.ckpt of step 6" in said(capsys, "validate", run, "--ckpt", "5", status=2)
    assert "--ckpt newest: must be last, best or a step" in said(capsys, "validate", run, "--ckpt=newest", status=2)
    wanted = ("--ckpt", "best", "--ckpt_path", run / "checkpoints" / "last.ckpt")
    assert "give one of them" in said(capsys, "validate", *NAMED, *wanted, status=2)
    assert "leave --ckpt best out" in said(
        capsys, "validate", run / "checkpoints" / "last.ckpt", "--ckpt", "best", status=2
    )


def test_the_chosen_checkpoint_is_stored_with_the_result(run, capsys):
    said(capsys, "evaluate", *NAMED, "--ckpt", "best", "--metrics", "log_mel_error")
    stored = json.loads((run / "evaluation" / "test_best" / "values.json").read_text())
    assert (stored["checkpoint"], stored["step"], stored["run"]) == (f"{run}/checkpoints/best.ckpt", 4, run.name)
    said(capsys, "evaluate", run, "--ckpt", "4", "--metrics", "log_mel_error")
    by_step = json.loads((run / "evaluation" / "test_step_4" / "values.json").read_text())
    assert by_step["metrics"] == stored["metrics"]
    said(capsys, "release", run, "--ckpt", "best", "--output", "best.safetensors")
    facts = open_run("best.safetensors").config["release"]
    assert (facts["checkpoint"], facts["step"], facts["run"]) == ("best.ckpt", 4, run.name)


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("show", ()),
        ("validate", ()),
        ("evaluate", ("--metrics", "log_mel_error")),
        ("synthesize", ("--input", "a/0.wav", "--output", "out", "--overwrite")),
        ("release", ("--output", "again.safetensors", "--overwrite")),
        ("inspect", ("--output", "pictures", "--overwrite")),
    ],
)
def test_a_command_takes_a_run_or_a_release_in_the_place_of_an_experiment(command, own, run, capsys):
    for target in (run, run.relative_to("runs"), run.name, run / "checkpoints" / "last.ckpt", "last.safetensors"):
        # A release does not say where its data are.
        data = ("--data", "a", "--data.validation_clips=1") if target == "last.safetensors" else ()
        assert said(capsys, command, target, *data, *own)


def test_a_release_synthesizes_what_its_run_does_without_its_experiments_file(run, capsys, monkeypatch):
    for target in (run, "last.safetensors"):
        said(capsys, "synthesize", target, "--input", "a/0.wav", "--output", f"of_{Path(target).suffix[1:]}")
    assert Path("of_/0.wav").read_bytes() == Path("of_safetensors/0.wav").read_bytes()
    opened = open_run("last.safetensors")
    assert isinstance(opened, ReleasedRun)
    assert (opened.signature, opened.checkpoints) == (run.name, {"last.safetensors": 6})
    monkeypatch.setitem(sys.modules, "experiments.hifigan_bach", None)
    said(capsys, "synthesize", "last.safetensors", "--input", "a/0.wav", "--output", "alone")
    assert Path("alone/0.wav").read_bytes() == Path("of_/0.wav").read_bytes()


def test_fit_continues_a_run_by_its_folder_wherever_that_is(there, run, capsys):
    assert "is finished (6 steps)" in said(capsys, "fit", run)
    unfinished = there / "moved" / "hifigan_bach" / run.name
    shutil.copytree(run, unfinished)
    (unfinished / "summary.json").unlink()
    os.replace(unfinished / "checkpoints" / "previous.ckpt", unfinished / "checkpoints" / "last.ckpt")
    assert "continuing from last.ckpt" in said(capsys, "fit", unfinished, "--trainer.accelerator=cpu")
    ours, theirs = (torch.load(path / "checkpoints" / "last.ckpt") for path in (unfinished, run))
    assert ours["global_step"] == theirs["global_step"] == 6
    assert all(torch.equal(value, theirs["state_dict"][name]) for name, value in ours["state_dict"].items())
    assert [path.name for path in unfinished.parent.iterdir()] == [run.name], "no other run was begun"
    refused = said(capsys, "fit", run / "checkpoints" / "best.ckpt", status=2)
    assert f"name the folder {run} to continue the run" in refused
    shutil.rmtree(there / "moved")


def test_runs_of_equal_values_are_told_apart_by_their_data(there, run, capsys):
    other = run.with_name("0123456789")
    shutil.copytree(run, other)
    config = (other / "config.yaml").read_text()
    manifest = open_run(run).identity["data"]["manifest"]
    (other / "config.yaml").write_text(config.replace(f"manifest: {manifest}", "manifest: of_other_data"))
    assert same_but_data(open_run(run).identity, open_run(other).identity)
    try:
        assert said(capsys, "validate", *NAMED).startswith(str(run))
        message = said(capsys, "validate", "hifigan_bach", "--data", "b", *SMALL, status=2)
        assert "2 runs of HiFiGANBach have these values and were trained on different data" in message
        assert str(run) in message
        assert str(other) in message
    finally:
        shutil.rmtree(other)
    capsys.readouterr()
    assert main(["validate", "hifigan_bach", "--data", "b", *SMALL]) == 0
    assert "last.ckpt was trained on other data than these" in capsys.readouterr().err


WITH_WEIGHTS = [name for name in names() if getattr(command(name), "purpose", "") == "use"]
NEEDED = {
    "synthesize": ("--input", "a/0.wav", "--output", "new"),
    "encode": ("--input", "a/0.wav", "--output", "new.ost"),
    "decode": ("--input", "a/0.wav", "--output", "new.wav"),
    "export": ("--format", "torch"),
}


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_looking_for_a_run_renders_nothing(name, there, capsys, monkeypatch):
    monkeypatch.setattr(BachChorales, "prepare_data", lambda self: pytest.fail("the data were prepared"))
    experiment = "codec_bach" if name in ("encode", "decode") else "hifigan_bach"
    refused = said(capsys, name, experiment, *NEEDED.get(name, ()), status=2)
    assert re.search(f"no run of .* with these values: `ostinato fit {experiment}` with them trains one", refused)


def test_autoencoders_are_looked_for_in_the_folder_of_runs_that_is_given(there, capsys):
    refused = said(capsys, "show", "latent_diffusion_bach", "--runs", "elsewhere", status=2)
    assert "a run of vae_bach under elsewhere/" in refused


def test_the_list_of_runs_needs_no_torch_and_says_what_each_is(run, there):
    (there / "runs" / "broken" / "abc").mkdir(parents=True)
    (there / "runs" / "broken" / "abc" / "config.yaml").write_text("{")
    code = "import sys; from framework.cli import main; main(['runs']); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=there)
    shutil.rmtree(there / "runs" / "broken")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("hifigan_bach")]
    row = line.split()
    assert row[:6] == ["hifigan_bach", run.name, "1234", "6/6", "finished", "log_mel_error"]
    assert {"data=a", "channels=8", "max_steps=6"} <= set(row)
    assert "config.yaml is damaged" in done.stderr
    (listed,) = list_runs("runs")
    rows = read_metrics(run / "metrics.csv")
    assert listed.value == float(rows[-1]["validation/log_mel_error"])
    assert [folder.path for folder in runs_of("hifigan_bach", "runs")] == [run]
    assert runs_of("hifigan", "runs") == []


def test_systems_of_one_module_of_ones_own_have_a_folder_each(tmp_path, monkeypatch):
    module = ModuleType("lab.mine")
    monkeypatch.setitem(sys.modules, "lab.mine", module)

    def defined(name, base=System):
        made = type(name, (base,), {"__module__": "lab.mine", "example": lambda self, batch: batch})
        setattr(module, name, made)
        return made

    one = defined("One")
    module.Data = type("Data", (Hyperparameters,), {"__module__": "lab.mine", "reader": lambda self: 1})
    assert folder_names(one) == ["mine"]
    other = defined("Other", one)
    assert [folder_names(cls)[0] for cls in (one, other)] == ["mine.One", "mine.Other"]
    assert folder_names(System) == ["system"]
    assert run_folder(tmp_path, other, "abc").path == tmp_path / "mine.Other" / "abc"
    # A run that an earlier version has made is found where it is.
    (tmp_path / "mine" / "abc").mkdir(parents=True)
    (tmp_path / "mine" / "abc" / "config.yaml").touch()
    assert run_folder(tmp_path, other, "abc").path == tmp_path / "mine" / "abc"
    monkeypatch.setattr(one, "__module__", "__main__")
    assert folder_names(one)[0] == "One"


def test_a_run_by_name_is_the_one_that_was_trained_last(run, there):
    assert open_run("hifigan_bach").path == run
    opened = open_run(run)
    assert open_experiment(NAMED).plan.folder().path == run
    assert opened.state == "finished"
    assert opened.checkpoints == {"best.ckpt": 4, "last.ckpt": 6, "previous.ckpt": 4}
    assert opened.summary["steps"] == 6
