"""Run folders and settings from somebody else: the commands that they name are not run."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from datamodules.audio_folder import AudioFolder
from datamodules.shards.remote import RemoteCache
from datamodules.shards.writer import ShardWriter
from framework.cli import main
from framework.runs.stored_commands import ALLOW, StoredCommandError, distrust_commands, forget_commands

TINY = [
    *("--model.channels=4", "--model.upsample_rates=[16,16]", "--model.upsample_kernels=[32,32]"),
    *("--model.kernels=[3]", "--model.dilations=[[1]]", "--data.batch_size=2"),
    *("--trainer.max_steps=1", "--trainer.val_check_interval=1"),
    *("--data.validation_seconds=0.4", "--trainer.accelerator=cpu"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stranger")
    for split in ("train", "validation"):
        with ShardWriter(folder / "packed", split) as writer:
            for number in range(2):
                writer.write(f"{split}{number}", 0.4 * np.sin(np.arange(9000) * 0.02 * (number + 1)), 22050)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTINATO_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        yield folder
    forget_commands()


def source(place: Path, marker: str = "ran") -> str:
    """Return shards as commands that leave a trace."""
    shards = (place / "packed" / split / "000000.tar" for split in ("train", "validation"))
    return "::".join(f"pipe:touch {place / marker}; cat {shlex.quote(str(shard))}" for shard in shards)


@pytest.fixture(scope="module")
def run(place):
    """Return a run whose configuration names another command than the one that it was made by."""
    assert main(["fit", "hifigan_bach", "--data", source(place), *TINY]) == 0
    assert (place / "ran").exists(), "what the command line names is run"
    (config,) = place.glob("runs/*/*/config.yaml")
    stored = yaml.safe_load(config.read_text())
    stored["data"]["path"] = source(place, "hacked")
    config.write_text(yaml.safe_dump(stored))
    return config.parent


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "{run}"],
        ["evaluate", "{run}/checkpoints/last.ckpt"],
        ["compare", "{run}"],
        ["validate", "{run}"],
        ["inspect", "{run}"],
        ["fit", "{run}", "--rerun"],
        ["release", "{run}", "--output", "system.safetensors"],
        ["fit", "griffin_lim", "--config", "settings.yaml"],
        ["doctor", "griffin_lim", "--config", "settings.yaml"],
        ["sweep", "sweep.yaml", "--dry"],
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_a_command_that_only_a_file_names_is_not_run(place, run, capsys, monkeypatch, words):
    monkeypatch.delenv(ALLOW, raising=False)
    settings = {"data": {"path": source(place, "hacked")}}
    monkeypatch.setattr("framework.workflow.experiment.find", lambda name: on_folder())
    (place / "settings.yaml").write_text(yaml.safe_dump(settings))
    parameters = {"data.path": {"value": source(place, "hacked")}, "experiment": {"value": "griffin_lim"}}
    (place / "sweep.yaml").write_text(yaml.safe_dump({"method": "grid", "parameters": parameters}))
    capsys.readouterr()
    assert main([word.format(run=run) for word in words]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert not (place / "hacked").exists()
    file = words[-1] if words[-1].endswith(".yaml") else "sweep.yaml" if words[0] == "sweep" else run / "config.yaml"
    assert f"{file} names a command to run" in said
    assert "data.path" in said
    assert ALLOW in said


def on_folder():
    """Return an experiment whose data has a path."""
    from experiments.griffin_lim import GriffinLim

    return GriffinLim.variant(data=AudioFolder)


def test_the_command_line_or_the_environment_allows_it(place, run, monkeypatch):
    monkeypatch.delenv(ALLOW, raising=False)
    metric = ["--metrics", "log_mel_error"]
    assert main(["evaluate", str(run), "--data.path", source(place), *metric]) == 0
    assert main(["fit", "hifigan_bach", "--data", source(place), *TINY]) == 0, "the run is known by its command line"
    assert not (place / "hacked").exists()
    monkeypatch.setenv(ALLOW, "1")
    assert main(["evaluate", str(run), *metric]) == 0
    assert (place / "hacked").exists()


def test_no_way_of_writing_a_stored_command_runs_it(place, monkeypatch):
    monkeypatch.delenv(ALLOW, raising=False)
    forget_commands()
    trace = place / "smuggled"
    for path in (f"pipe:touch {trace};.tar", f"pipe:touch {{{trace},b}}", f"a.tar::pipe:touch {trace}"):
        distrust_commands({"data": {"path": [{"deep": path}]}}, "config.yaml")
        with pytest.raises(StoredCommandError, match=r"config\.yaml .* data\.path\.deep"):
            AudioFolder(path=path).shards("train")
    with pytest.raises(StoredCommandError):
        RemoteCache().open(f"pipe:touch {trace};.tar")
    with pytest.raises(ValueError, match="without braces"):
        AudioFolder(path=f"{{pipe,x}}:touch {trace};.tar").shards("train")
    assert not trace.exists()
