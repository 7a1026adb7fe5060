"""A damaged file of a run is named, with its damage and what to do, by whatever reads it."""

import json
import os

import numpy as np
import pytest
import soundfile
import yaml

from framework.catalogue import find
from framework.cli import main
from framework.runs.folder import RunFolder
from framework.runs.stored_files import CONFIG, DamagedFileError, read_config, read_metrics, read_summary
from framework.sweeps import making
from framework.sweeps.record import PlannedRun, progress, write_record
from framework.sweeps.sweep import Sweep

GARBAGE = bytes(range(256)) * 20
SUMMARY = json.dumps({"steps": 3, "minutes": 0.5, "clips": {"a": {"system": {"error": 1.0}}}})
METRICS = "step,train/mel,validation/mel\n1,0.5,\n2,0.25,\n2,,nan\n"


@pytest.mark.parametrize(
    ("text", "damage"),
    [
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (SUMMARY[:30].encode(), "Unterminated string"),
        (GARBAGE, "it is no text"),
        (b"[1, 2]", "it holds a list"),
        (b"null", "it holds a NoneType"),
        (b"{}", "it has no 'steps'"),
        (b'{"steps": 3, "minutes": 1}', "it has no 'clips'"),
        (b'{"steps": "3", "minutes": 1, "clips": {}}', "'steps' is '3'"),
        (b'{"steps": true, "minutes": 1, "clips": {}}', "'steps' is 'True'"),
        (b'{"steps": 3, "minutes": 1, "clips": {"a": 4}}', "'clips' has something else"),
        (b'{"steps": 3, "minutes": 1, "clips": {"a": {"system": {"error": "x"}}}}', "'clips' has something else"),
    ],
)
def test_a_damaged_summary_is_named(tmp_path, text, damage):
    path = tmp_path / "summary.json"
    assert read_summary(path) is None
    path.write_text(SUMMARY)
    assert read_summary(path, ("steps", "minutes", "clips")) == json.loads(SUMMARY)
    path.write_bytes(text)
    with pytest.raises(DamagedFileError) as refused:
        read_summary(path, ("steps", "minutes", "clips"))
    assert str(path) in str(refused.value)
    assert damage in str(refused.value)
    assert "`ostinato fit` measures the run again" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "damage"),
    [
        (b"", "it is empty"),
        (b"model: {channels: 3", "line 1: expected"),
        (GARBAGE, "it is no text"),
        (b"just words", "it holds a str"),
        (b"\x00\x01", "unacceptable character"),
        (b"model: {}\n", "it has no 'identity'"),
        (b"identity: 3\nmodel: {}\n", "'identity' is '3'"),
    ],
)
def test_a_damaged_configuration_is_named(tmp_path, text, damage):
    path = tmp_path / "config.yaml"
    assert read_config(path) is None
    path.write_text(yaml.safe_dump({name: kind() for name, kind in CONFIG.items()}))
    assert read_config(path, CONFIG) == {name: kind() for name, kind in CONFIG.items()}
    path.write_bytes(text)
    with pytest.raises(DamagedFileError) as refused:
        read_config(path, ("identity",))
    assert f"{path} is damaged (" in str(refused.value)
    assert damage in str(refused.value)
    assert str(refused.value).endswith("`ostinato fit` writes it again")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "damage"),
    [
        (GARBAGE, "it is no text"),
        (b"time,train/mel\n1,2\n", "its columns are 'time, train/mel'"),
        (b"step,train/mel\n1,many\n", "'many' is no number"),
        (b"step,train/mel\n1,2,3\n", "is no number"),
        (b'{"steps": 3}\n', "its columns are"),
    ],
)
def test_a_damaged_log_is_named(tmp_path, text, damage):
    path = tmp_path / "metrics.csv"
    assert read_metrics(path) == []
    path.write_text(METRICS + "3,0.1")
    assert [row["step"] for row in read_metrics(path)] == ["1", "2", "2"], "a last line may be on its way"
    assert [row["step"] for row in read_metrics(path, 22)] == ["2", "2"]
    path.write_text("step,tr")
    assert read_metrics(path) == []
    path.write_bytes(text)
    with pytest.raises(DamagedFileError) as refused:
        read_metrics(path)
    assert f"{path} is damaged (" in str(refused.value)
    assert damage in str(refused.value)
    assert str(refused.value).endswith("restore it, or remove it: only its curves are lost")
    assert "\n" not in str(refused.value)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a finished run, which was evaluated and is that of a sweep."""
    folder, before = tmp_path_factory.mktemp("damaged"), os.getcwd()
    patch = pytest.MonkeyPatch()
    patch.setenv("OSTINATO_CACHE", str(folder / "cache"))
    patch.setenv("WANDB_MODE", "disabled")
    os.chdir(folder)
    (folder / "in").mkdir()
    for number in range(8):
        tone = 0.3 * np.sin(2 * np.pi * 110 * (number + 1) * np.arange(22050) / 22050)
        soundfile.write(folder / "in" / f"{number}.wav", tone, 22050)
    yield folder
    os.chdir(before)
    patch.undo()


ARGUMENTS = ["griffin_lim", "--data", "in"]


@pytest.fixture(scope="module")
def run(place):
    assert main(["fit", *ARGUMENTS]) == 0
    (summary,) = place.glob("runs/*/*/summary.json")
    folder = RunFolder(summary.parent)
    assert main(["evaluate", str(folder.path), "--metrics", "log_mel_error"]) == 0
    planned = PlannedRun("Full", "griffin_lim", ("--data", "in"), folder.path, folder.path.name, "family", 0)
    write_record(place / "runs", "question", "does it matter?", [planned])
    return folder


@pytest.mark.parametrize(
    ("name", "text"),
    [("summary.json", b'{"steps": 0}\n\x00'), ("config.yaml", b"model: {}\n"), ("metrics.csv", GARBAGE)],
)
def test_every_command_says_what_is_damaged_of_a_run(place, run, capsys, monkeypatch, name, text):
    monkeypatch.setattr(making, "find_sweep", lambda name: (name, Sweep([find("griffin_lim")]), "does it matter?"))
    path = run.path / name
    whole = path.read_bytes() if path.exists() else None
    commands = {
        "status": (["status", "question"], 0),
        "sweep": (["sweep", "question", "--dry", "--data", "in"], 0),
        "evaluate": (["evaluate", str(run.path), "--metrics", "log_mel_error"], 2 if name == "config.yaml" else 0),
        "compare": (["compare", str(run.path / "evaluation" / "test")], 0),
        "fit": (["fit", *ARGUMENTS], 0),
    }
    for command, (arguments, expected) in commands.items():
        path.write_bytes(text)
        capsys.readouterr()
        assert main(arguments) == expected, command
        output = capsys.readouterr()
        said = " ".join((output.out + output.err).split())
        assert "Traceback" not in said
        assert f"{name} is damaged (" in said, (command, said)
    assert (run.damages() == []) == (name != "metrics.csv"), "fit has measured the run, or stored its values, again"
    path.write_bytes(whole) if whole is not None else path.unlink()


def test_nothing_is_known_from_a_damaged_log(tmp_path):
    planned = PlannedRun("Full", "full", (), tmp_path, "s", "f", 0, monitor="validation/mel")
    (tmp_path / "metrics.csv").write_text(METRICS)
    assert progress(planned).step == 2
    (tmp_path / "metrics.csv").write_bytes(GARBAGE)
    assert progress(planned).step == 0
