"""The public Python interface as a notebook uses it: trained, opened, evaluated, compared, without argument lists."""

import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor

import ostinato as ost
from datamodules.audio_folder import AudioFolder
from framework.cli import main
from framework.errors import InvalidTypeError, InvalidValueError
from framework.frames import MissingPackageError
from framework.hyperparameters import HyperparameterError
from framework.runs.identity import signature
from framework.workflow.experiment import open_experiment

SMALL = {
    "channels": 8, "upsample_rates": (16, 16), "upsample_kernels": (32, 32), "kernels": (3,), "dilations": ((1,),),
    "batch_size": 2, "segment": 2048, "validation_clips": 1, "max_steps": 4, "val_check_interval": 2,
    "accelerator": "cpu",
}  # fmt: skip
COMMAND = [
    "--model.channels=8", "--model.upsample_rates=[16,16]", "--model.upsample_kernels=[32,32]", "--model.kernels=[3]",
    "--model.dilations=[[1]]", "--data.batch_size=2", "--data.segment=2048", "--data.validation_clips=1",
    "--trainer.max_steps=4", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notebook")
    (folder / "takes").mkdir()
    for number in range(4):
        tone = 0.3 * np.sin(2 * np.pi * (300 + 50 * number) * np.arange(22050) / 22050)
        soundfile.write(folder / "takes" / f"{number}.wav", tone, 22050)
    return folder


@pytest.fixture
def there(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("OSTINATO_CACHE", str(place / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return place


@pytest.fixture
def run(there):
    """Return a run that was trained from Python; the first test that asks for it trains it."""
    return ost.train("hifigan_bach", data="takes", **SMALL)


def test_importing_the_interface_is_quick_and_needs_no_torch():
    code = "import sys, ostinato; print(ostinato.__version__, len(ostinato.__all__)); sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(callable(getattr(ost, name)) for name in ost.__all__ if name != "__version__")
    assert Path(ost.__file__).with_name("py.typed").exists()


def test_a_run_from_python_is_that_of_the_command_bit_for_bit(run, there, capsys):
    assert run.state == "finished"
    assert ost.train("hifigan_bach", data="takes", **SMALL).path == run.path
    assert "is finished (4 steps)" in capsys.readouterr().out
    assert main(["fit", "hifigan_bach", "--data", "takes", *COMMAND, "--runs", "of_command"]) == 0
    (other,) = [ost.open_run(one.folder.path) for one in ost.runs("of_command")]
    assert other.signature == run.signature
    ours, theirs = run.load().state_dict(), other.load().state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert run.rows()[-1]["validation/log_mel_error"] == other.rows()[-1]["validation/log_mel_error"]
    assert other.config["changes"] == run.config["changes"]


def test_a_run_is_opened_evaluated_and_compared(run, there):
    opened = ost.open_run("hifigan_bach")
    assert (opened.path, opened.checkpoints["last.ckpt"], opened.seed) == (run.path, 4, 1234)
    assert [row["step"] for row in opened.rows() if not math.isnan(row["validation/log_mel_error"])] == [2, 4]
    watched = ost.evaluate(opened, metrics=["log_mel_error"], split="validation")
    (row,) = watched.rows()
    assert "every training watched" in " ".join(ost.compare([watched]).remarks)
    summary = [clip["system"]["log_mel_error"] for clip in opened.summary["clips"].values()]
    assert row["mean"] == pytest.approx(sum(summary) / len(summary), abs=1e-6)
    evaluation = ost.evaluate(opened, metrics=["log_mel_error"])
    assert evaluation.data["split"] == "test"
    assert not set(evaluation.clips) & set(watched.clips)
    (row,) = evaluation.rows()
    other = ost.train("hifigan_bach", data="takes", seed=7, **SMALL)
    comparison = ost.compare([evaluation, other, run.path], metrics=["log_mel_error"])
    assert [column.seeds for column in comparison.runs] == [[7, 1234]]
    (mean,) = [row["mean"] for row in comparison.rows() if row["run"] == comparison.baseline]
    assert mean == pytest.approx((row["mean"] + ost.evaluate(other, metrics=["log_mel_error"]).rows()[0]["mean"]) / 2)
    for shown in (opened, evaluation, comparison):
        assert shown._repr_html_().startswith("<table>")


def test_tables_are_data_frames(run, there):
    pandas = pytest.importorskip("pandas")
    assert isinstance(run.metrics, pandas.DataFrame)
    assert run.metrics["step"].is_monotonic_increasing
    evaluation = ost.evaluate(run, metrics=["log_mel_error"])
    assert evaluation.table().loc["log_mel_error", "mean"] == evaluation.rows()[0]["mean"]
    table = ost.compare([run]).table()
    assert table.loc[("log_mel_error", "ground truth"), "mean"] == 0


def test_without_pandas_a_line_names_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingPackageError, match="pip install pandas"):
        run.metrics  # noqa: B018


def test_the_audio_of_a_run_is_played(run):
    (clip,) = run.audio
    assert next(iter(run.audio[clip])) == "truth"
    assert {"truth", "griffin_lim", "step_00000004"} <= set(run.audio[clip].newest())
    assert "step_00000002" not in run.audio[clip].newest()
    sound = run.audio[clip]["truth"]
    assert sound.samples().shape == (1, soundfile.info(sound.path).frames)
    assert run.audio._repr_html_().count("<audio controls") == 3
    with pytest.raises(KeyError, match=clip):
        run.audio["nothing"]


def test_synthesizing_takes_a_path_or_audio_and_says_what_it_cannot(run, there, tmp_path):
    audio = ost.synthesize(run, "takes/0.wav", output=tmp_path / "made.wav")
    assert audio.shape == (1, 22050)
    assert soundfile.info(tmp_path / "made.wav").frames == 22050
    samples, _ = soundfile.read("takes/0.wav", dtype="float32")
    system = run.load()
    for source in (samples, torch.from_numpy(samples)[None], {"audio": torch.from_numpy(samples)[None, None]}):
        assert torch.equal(system.synthesize(source)[0], audio)
    assert torch.equal(system("takes/0.wav")[0], audio)
    assert torch.equal(ost.synthesize(system, samples), audio)
    assert ost.synthesize(run, samples[::2], sample_rate=11025).shape[-1] == pytest.approx(22050, abs=2)
    for wrong in (torch.zeros(2, 1, 9), torch.zeros(1, 2, 9), torch.zeros(0)):
        with pytest.raises(InvalidValueError, match=r"audio \(time,\), \(1, time\) or \(1, 1, time\) is wanted"):
            system.synthesize(wrong)
    with pytest.raises(InvalidTypeError, match="a int is not audio"):
        system.synthesize(3)
    with pytest.raises(InvalidValueError, match="generates recordings again: pass a path"):
        ost.synthesize(run)


def test_a_run_of_a_notebooks_own_class_is_opened_elsewhere(run, there):
    mine = type("Mine", (ost.find("hifigan_bach"),), {"__module__": "__main__", "mel_weight": 7.0})
    trained = ost.train(mine, data="takes", **SMALL)
    assert (trained.config["experiment"], trained.path.parent.name) == ("__main__", run.path.parent.name)
    system = ost.open_run(trained.path).load()
    assert (type(system).__name__, system.mel_weight) == ("HiFiGANBach", 7.0)


def test_a_plan_knows_its_run_without_preparing_data(run, there, monkeypatch):
    plan = ost.resolve("hifigan_bach", data="takes", **SMALL)
    monkeypatch.setattr(AudioFolder, "prepare_data", lambda self: pytest.fail("the data were prepared"))
    assert ost.synthesize(run, "takes/0.wav").shape == (1, 22050)
    manifest = run.identity["data"]["manifest"]
    assert signature(plan.identity(manifest)) == run.signature
    assert "system" not in vars(plan), "no network is made to know the identity"
    assert {name: new for name, (_, new) in plan.changes().items()}["model.channels"] == 8
    assert "model.channels: 32 -> 8" in str(plan) or "channels" in str(plan)


LIMIT = ["--trainer.limit_train_batches=0.5"]


@pytest.mark.parametrize(
    ("values", "arguments"),
    [
        ({}, []),
        ({"mel_weight": 15, "seed": 3}, ["--model.mel_weight=15", "--seed=3"]),
        ({"trainer.max_epochs": 2, "max_steps": 9}, ["--trainer.max_epochs=2", "--trainer.max_steps=9"]),
        ({"limit_train_batches": 0.5, "deterministic": True}, [*LIMIT, "--trainer.deterministic=true"]),
        ({"precision": "bf16-mixed"}, ["--trainer.precision=bf16-mixed"]),
        ({"overfit_one_clip": True, "data.batch_size": 8}, ["--overfit_one_clip", "--data.batch_size=8"]),
        (
            {"callbacks": [{"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": {"monitor": "x"}}]},
            ["--trainer.callbacks+=EarlyStopping", "--trainer.callbacks.monitor=x"],
        ),
    ],
)  # fmt: skip
def test_a_plan_has_the_identity_of_the_command(there, values, arguments):
    named = {name: value for name, value in values.items() if "." not in name}
    dotted = {name: value for name, value in values.items() if "." in name}
    plan = ost.resolve("hifigan_bach", dotted, data="takes", **named)
    given = open_experiment(["hifigan_bach", "--data", "takes", *arguments]).plan
    if "callbacks" in values:
        # The command fills in the defaults of the callback's arguments.
        assert plan.identity("")["trainer"]["callbacks"][0]["class_path"] == "lightning.pytorch.callbacks.EarlyStopping"
        return
    assert plan.identity("") == given.identity("")


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"mel_wieght": 3}, InvalidValueError, "did you mean mel_weight"),
        ({"model.batch_size": 3}, InvalidValueError, "no value 'model.batch_size'"),
        ({"channels": "wide"}, HyperparameterError, "HiFiGANBach.channels = 'wide'"),
        ({"channels": -4}, HyperparameterError, "must be at least 1"),
        ({"batch_size": 0}, HyperparameterError, "batch_size = 0"),
        ({"seed": -1}, InvalidValueError, "seed = -1"),
        ({"max_steps": -5}, ValueError, "max_steps = -5"),
        ({"gradient_clip_val": 1.0}, InvalidValueError, "set --model.gradient_clip"),
        ({"callbacks": EarlyStopping("x")}, InvalidTypeError, "class_path"),
    ],
)
def test_a_wrong_value_is_refused_before_anything_is_made(there, values, error, message):
    with pytest.raises(error, match=message):
        ost.resolve("hifigan_bach", values, data="takes")


def test_callbacks_that_change_no_result_are_taken_as_they_are(there):
    callback = LearningRateMonitor()
    plan = ost.resolve("hifigan_bach", data="takes", callbacks=callback)
    assert plan.trainer["callbacks"] == [callback]
    assert plan.identity("") == ost.resolve("hifigan_bach", data="takes").identity("")


def test_an_interrupted_training_is_continued_by_the_same_call(there):
    values = SMALL | {"max_steps": 200, "val_check_interval": 50, "seed": 11, "log_every_n_steps": 1}

    def opened(listed):
        return ost.open_run(listed.folder.path)

    def interrupt():
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not any(one.rows() for one in map(opened, ost.runs("stopped"))):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        ost.train("hifigan_bach", data="takes", runs="stopped", **values)
    thread.join()
    assert signal.getsignal(signal.SIGINT) is before
    (stopped,) = ost.runs("stopped")
    assert stopped.state == "stopped"
    assert 0 < stopped.step < 200
    continued = ost.train(ost.open_run(stopped.folder.path), accelerator="cpu")
    assert (continued.path.resolve(), continued.state) == (stopped.folder.path.resolve(), "finished")
