"""Evaluations: what is stored, read back, and said of what cannot be measured; runs by name, folder and checkpoint."""

import json
import math
import re

import numpy as np
import pytest
import soundfile
import torch
import yaml

from datamodules.audio_folder import AudioFolder
from framework.audio.distances import log_mel_error
from framework.cli import main
from framework.evaluation.evaluating import evaluate
from framework.evaluation.evaluation import EvaluationError, Subject, load_evaluation
from framework.evaluation.metrics.metric import Metric
from framework.evaluation.metrics.shelf import metrics_named
from framework.evaluation.statistics import student
from framework.evaluation.table import evaluation_table
from framework.paradigms.system import System
from framework.runs.checkpoints import AtomicCheckpointIO
from framework.runs.provenance import provenance, sources_of
from framework.traits import Trait
from framework.workflow.experiment import open_experiment

SUBJECT = Subject(
    "abc", "def", "experiments.half", 7, "last.ckpt", {"class": "Noise", "fingerprint": "f", "split": "test"}
)
NEEDLESS = Metric("magic", "magic", "", "lower", "nobody", lambda a, b: 0.0, packages=(("no_such_module", "no-such"),))


class Half(System):
    """Gives the audio back at half its amplitude, or NaN where the clip is `broken`."""

    data = AudioFolder

    def build_generator(self):
        return torch.nn.Linear(2, 3)

    def synthesize(self, batch):
        return batch["audio"] / 2 * (math.nan if "broken" in batch["key"][0] else 1)

    def measure(self, batch):
        return {"bits_per_sample": torch.tensor(float(batch["key"][0][-1]))}


class Own(Half):
    """The same, but not meant as copies."""

    reconstructs_input = False


class Plain(Own):
    """Generates examples that have one trait: their mean, undefined for silence."""

    traits = (Trait("level", "level", "here"),)

    def generate(self, batch):
        return batch["audio"] * 0 + (math.nan if "broken" in batch["key"][0] else 2)

    def describe(self, example, batch):
        return {"level": float(example.mean())}


def batches(*names):
    for number, name in enumerate(names):
        generator = torch.Generator().manual_seed(number)
        yield {"key": [name], "audio": 0.1 * torch.randn(1, 1, 22050, generator=generator)}


def test_values_audio_and_intervals_are_stored_and_read_back(tmp_path):
    metrics = [*metrics_named(["log_mel_error", "si_sdr", "frechet_audio_distance"]), NEEDLESS]
    found = evaluate(Half(), batches("a/1", "a/2", "broken3", "a/4"), metrics, tmp_path / "e", SUBJECT)
    assert load_evaluation(tmp_path / "e") == found == load_evaluation(tmp_path / "e" / "values.json")
    values = json.loads((tmp_path / "e" / "values.json").read_text())
    assert {"version", "run", "family", "experiment", "step", "checkpoint", "data", "sample_rate", "clips", "metrics",
            "missing", "cost", "columns"} <= values.keys()  # fmt: skip
    entry = values["metrics"]["log_mel_error"]
    assert entry["values"] == [pytest.approx(math.log(2), abs=1e-4)] * 2 + [None, pytest.approx(math.log(2), abs=1e-4)]
    assert entry["better"] == "lower"
    assert values["metrics"]["bits_per_sample"]["values"] == [1, 2, 3, 4]
    assert values["columns"]["truth"]["log_mel_error"] == [0.0] * 4
    assert all(value < math.log(2) for value in values["columns"]["griffin_lim"]["log_mel_error"])
    assert values["notes"]["audio"] == {"broken3": "NaN or infinite samples"}
    assert values["missing"] == {"magic": "not installed: pip install no-such"}
    distance = values["distributions"]["frechet_distance"]
    assert distance["value"] == pytest.approx(80 * math.log(2) ** 2, rel=1e-2)
    assert (distance["title"], distance["corrected"]) == ("Frechet distance (log-mel statistics)", None)
    assert values["cost"]["parameters"] == 9
    assert found.interval("bits_per_sample") == student([1, 2, 3, 4])
    true, rate = soundfile.read(found.audio("a/1") / "truth.wav", dtype="float32")
    made = soundfile.read(found.audio("a/1") / "generated.wav", dtype="float32")[0]
    again = log_mel_error(*(torch.from_numpy(a)[None, None] for a in (made, true)), Half().preset)
    assert (rate, again) == (22050, pytest.approx(entry["values"][0], abs=1e-3))
    assert (found.audio("a/1") / "griffin_lim.wav").exists()
    table = evaluation_table(found)
    assert "no audio of 1 of 4 clips, broken3: NaN" in table
    assert "magic: not installed" in table


def test_an_evaluation_that_fails_leaves_the_one_before(tmp_path):
    before = evaluate(Half(), batches("1", "2"), metrics_named(["si_sdr"]), tmp_path / "e", SUBJECT)
    with pytest.raises(EvaluationError, match="diverged"):
        evaluate(Half(), batches("broken1"), metrics_named(["si_sdr"]), tmp_path / "e", SUBJECT)
    assert load_evaluation(tmp_path / "e") == before
    assert (before.audio("2") / "generated.wav").exists()


def test_the_gap_between_windows_and_whole_clips_is_measured_where_it_is_named(tmp_path):
    class Short(Half):
        """Gives the audio back as it is, but recordings of more than 4,096 samples at half the amplitude."""

        def synthesize(self, batch):
            return batch["audio"] / (2 if batch["audio"].shape[-1] > 4096 else 1)

    assert "window_gap" not in {metric.name for metric in metrics_named()}
    metrics = metrics_named(["window_gap"], segment=4096)
    found = evaluate(Short(), batches("1", "2"), metrics, tmp_path / "e", SUBJECT)
    assert found.metrics["window_gap"]["values"] == [pytest.approx(math.log(2), abs=1e-4)] * 2
    assert all(abs(value) < 0.1 for value in found.columns["griffin_lim"]["window_gap"])
    assert "less that of training windows" in evaluation_table(load_evaluation(tmp_path / "e"))
    long = evaluate(Short(), batches("1"), metrics_named(["window_gap"], segment=20_000), tmp_path / "e", SUBJECT)
    assert long.metrics["window_gap"]["values"] == [None]
    assert long.notes["window_gap"] == {"1": "the clip is shorter than two windows of 20000 samples"}
    assert "does not reconstruct" in evaluate(Own(), batches("1"), metrics, tmp_path, SUBJECT).missing["window_gap"]


def test_audio_of_ones_own_has_only_what_applies_and_an_old_evaluation_goes(tmp_path):
    evaluate(Half(), batches("1", "2"), metrics_named(["si_sdr"]), tmp_path, SUBJECT)
    found = evaluate(Own(), batches("1"), metrics_named(["si_sdr", "kernel_audio_distance"]), tmp_path, SUBJECT)
    assert "does not reconstruct recordings" in found.missing["si_sdr"]
    assert set(found.metrics) == {"bits_per_sample"}
    assert found.distributions["kernel_distance"]["columns"] == {}
    assert [path.name for path in (tmp_path / "audio").iterdir()] == ["1"]
    assert {path.name for path in found.audio("1").iterdir()} == {"truth.wav", "generated.wav"}
    assert evaluation_table(found)


def test_examples_are_judged_by_what_they_are_like_beside_the_held_out_ones(tmp_path):
    system, clips = Plain(), list(batches("1", "broken2", "3"))
    metrics = metrics_named(traits=Plain.traits)
    assert metrics == list(Plain.traits)
    assert [m.name for m in metrics_named(["si_sdr", "level"], traits=Plain.traits)] == ["si_sdr", "level"]
    found = evaluate(system, clips, metrics, tmp_path, SUBJECT)
    assert found.metrics["level"]["values"] == [2.0, None, 2.0]
    assert found.columns == {"truth": {"level": [float(clip["audio"].mean()) for clip in clips]}}
    assert list(found.notes["level"]) == ["broken2"]
    assert {"generated.wav", "truth.wav"} == {path.name for path in found.audio("1").iterdir()}
    assert "level \N{ALMOST EQUAL TO} truth" in evaluation_table(load_evaluation(tmp_path))


def test_what_cannot_be_evaluated_or_read_is_said(tmp_path):
    si_sdr = metrics_named(["si_sdr"])
    with pytest.raises(EvaluationError, match="Noise has no test clips"):
        evaluate(Half(), batches(), si_sdr, tmp_path, SUBJECT)
    with pytest.raises(EvaluationError, match="all 1 clips have NaN"):
        evaluate(Half(), batches("broken1"), si_sdr, tmp_path, SUBJECT)
    with pytest.raises(EvaluationError, match="held-out clip 1 has NaN"):
        evaluate(Half(), [{"key": ["1"], "audio": torch.full((1, 1, 9000), math.nan)}], si_sdr, tmp_path, SUBJECT)
    with pytest.raises(EvaluationError, match="no finished evaluation"):
        load_evaluation(tmp_path)
    for text, message in (("{", "is not a valid evaluation"), ('{"version": 0}', "has version 0")):
        (tmp_path / "values.json").write_text(text)
        with pytest.raises(EvaluationError, match=message):
            load_evaluation(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    for name, count in (("in", 8), ("other", 6)):
        (folder / name).mkdir()
        for number in range(count):
            tone = 0.3 * np.sin(2 * np.pi * 110 * (number + 1) * np.arange(22050) / 22050)
            soundfile.write(folder / name / f"{number}.wav", tone, 22050)
    return folder


@pytest.fixture
def there(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("OSTINATO_CACHE", str(place / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return place


FEW = ("--metrics", "log_mel_error", "--trainer.accelerator", "cpu")


def complaint(capsys, *arguments):
    assert main(["evaluate", *map(str, arguments)]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ostinato: error:")]
    return line


def test_a_run_is_evaluated_by_name_and_by_folder_alike(there, capsys):
    assert main(["fit", "griffin_lim_linear", "--data", "in", "--trainer.accelerator", "cpu"]) == 0
    (run,) = there.glob("runs/*/*")
    assert main(["evaluate", "griffin_lim_linear", "--data", "in", "--split", "validation", *FEW]) == 0
    by_name = load_evaluation(run / "evaluation" / "validation")
    assert "log-mel L1" in capsys.readouterr().out
    assert "clips = -1: must be at least 1" in complaint(capsys, run, "--clips", "-1")
    assert "is a file; name a folder" in complaint(capsys, "griffin_lim_linear", "--data", "in", "--runs", __file__)
    assert main(["evaluate", str(run), "--split", "validation", *FEW]) == 0
    by_folder = load_evaluation(run / "evaluation" / "validation")
    assert by_folder.metrics == by_name.metrics
    assert (by_folder.run, by_folder.family) == (run.name, by_name.family)
    summary = json.loads((run / "summary.json").read_text())["clips"]
    fitted = [summary[clip]["system"]["log_mel_error"] for clip in by_folder.clips]
    assert by_folder.metrics["log_mel_error"]["values"] == pytest.approx(fitted, abs=1e-6)
    assert main(["evaluate", str(run), "--data", "other", "--split", "test", "--clips", "1", *FEW]) == 0
    (place,) = run.glob("evaluation/test_other-*/values.json")
    elsewhere = load_evaluation(place)
    assert (len(elsewhere.clips), elsewhere.run) == (1, run.name)
    assert elsewhere.data["fingerprint"] != by_name.data["fingerprint"]
    assert "has its own checkpoints" in complaint(capsys, run, "--ckpt_path", "x.ckpt")
    assert "no split 'train'" in complaint(capsys, run, "--split", "train")
    assert "did you mean log_mel_error" in complaint(capsys, run, "--metrics", "log_mel_eror")


def test_a_run_that_cannot_be_built_again_is_one_line(there, capsys):
    assert main(["fit", "griffin_lim", "--data", "in", "--trainer.accelerator", "cpu"]) == 0
    run = next(there.glob("runs/griffin_lim/*/summary.json")).parent
    config = (run / "config.yaml").read_text()
    changes = (
        (lambda c: c["model"].update(phases=3), "another version of the code .*phases"),
        (lambda c: c.update(experiment="experiments.gone"), "another version of the code .*gone"),
        (lambda c: c["identity"]["model"].update(iterations=64), "model.iterations was 64 and is 32"),
        (lambda c: c["identity"]["data"].update(manifest="0"), "trained on other data"),
        (lambda c: c.pop("identity"), "is damaged"),
    )
    for change, message in changes:
        changed = yaml.safe_load(config)
        change(changed)
        (run / "config.yaml").write_text(yaml.safe_dump(changed))
        assert re.search(message, complaint(capsys, run, *FEW)), message
    (run / "config.yaml").write_text(config[: len(config) // 2] + "\n\t{")
    assert "is damaged" in complaint(capsys, run, *FEW)
    (run / "config.yaml").unlink()
    assert "no run folder" in complaint(capsys, run, *FEW)
    assert "does not exist" in complaint(capsys, "runs/nothing", *FEW)


def test_checkpoints_of_a_run(there, capsys):
    small = [
        "--data", "in", "--model.channels=8", "--model.upsample_rates=[16,16]", "--model.upsample_kernels=[32,32]",
        "--model.kernels=[3]", "--model.dilations=[[1]]",
    ]  # fmt: skip
    plan = open_experiment(["hifigan_bach", *small]).plan
    folder = plan.folder()
    config = {"experiment": plan.experiment.__module__, "identity": plan.identity(), **plan.resolved()}
    config["provenance"] = provenance(sources_of(plan.system, type(plan.data)))
    folder.write_config(yaml.safe_load(json.dumps(config)))
    assert "no checkpoint yet" in complaint(capsys, folder.path, *FEW)
    state = {"pytorch-lightning_version": "2", "global_step": 12, "state_dict": plan.system.state_dict()}
    state["hyper_parameters"] = dict(plan.system.hparams)
    for name in ("best", "last"):
        AtomicCheckpointIO().save_checkpoint(state, folder.checkpoints / f"{name}.ckpt")
    assert main(["evaluate", str(folder.path), *FEW]) == 0
    assert "is not finished" in capsys.readouterr().err
    assert main(["evaluate", str(folder.checkpoints / "best.ckpt"), *FEW]) == 0
    evaluations = folder.path / "evaluation"
    found = [load_evaluation(evaluations / name) for name in ("test", "test_best")]
    assert found[0].metrics == found[1].metrics
    assert [evaluation.step for evaluation in found] == [12, 12]
    assert found[1].checkpoint.endswith("best.ckpt")
    assert found[0].cost["parameters"] > 0
    # What a comparison asks for besides costs nothing of what is known.
    capsys.readouterr()
    assert main(["compare", str(folder.path), str(evaluations / "test_best"), "--metrics", "si_sdr"]) == 0
    assert {*found[0].metrics, "si_sdr"} <= load_evaluation(evaluations / "test").metrics.keys()
    moved = there / "moved.ckpt"
    (folder.checkpoints / "best.ckpt").rename(moved)
    assert "is not inside a run folder" in complaint(capsys, moved, *FEW)
    assert main(["evaluate", "hifigan_bach", *small, "--ckpt_path", str(moved), *FEW]) == 0
    assert len(list(there.glob("runs/hifigan*/*/evaluation/test/values.json"))) == 2
