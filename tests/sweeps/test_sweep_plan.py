"""Plans: the same runs as `ostinato fit` would find, equal ones once, mistakes before anything runs, and the cost."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import yaml
from rich.console import Console

from datamodules.audio_folder import AudioFolder
from datamodules.shards.writer import ShardWriter, write_manifest
from experiments.ablations import hifigan_table3
from experiments.ablations.hifigan_table3 import Full, WithoutMel, WithoutMPD, WithoutMRF, WithoutMSD, table3
from experiments.hifigan_v3 import HiFiGANV3
from framework.catalogue import UnknownExperimentError
from framework.cli import main
from framework.sweeps.find import find_sweep
from framework.sweeps.making import rerun
from framework.sweeps.plan import estimate, make_plan
from framework.sweeps.record import read_record, write_record
from framework.sweeps.sweep import Sweep, SweepError
from framework.workflow.experiment import open_experiment


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return overrides to a small data set, so that none is made."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "validation"):
        with ShardWriter(folder, split) as writer:
            writer.write(f"{split}0", np.array([0.1, -0.1] * 5000), 22050)
    write_manifest(folder)
    return [f"--data={folder}", f"--runs={folder / 'runs'}"]


def test_runs_are_those_that_fit_finds_and_equal_ones_are_made_once(data):
    sweep = Sweep([Full, WithoutMel], grid={"model.mel_weight": [0, 45.0], "data.segment": [8192]}, seeds=2)
    plan = make_plan("test", sweep, [*data, "--model.kernels=[3, 5]", "--model.dilations=[[1], [3]]"])
    assert len(plan.runs) == 4
    assert plan.equal == {
        f"WithoutMel mel_weight={weight} segment=8192 seed={seed}": f"Full mel_weight={weight} segment=8192 seed={seed}"
        for weight in (0, 45.0) for seed in (1234, 1235)
    }  # fmt: skip
    for run in (plan.runs[0], plan.runs[3]):
        opened = open_experiment(run.command()[2:]).plan
        assert opened.folder().path == run.path
        assert opened.system.hparams["kernels"] == (3, 5)
    assert len({run.family for run in plan.runs}) == 2
    folders = [word.partition("=")[2] for word in data[:1]] * 2
    elsewhere = make_plan("test", Sweep([Full], grid={"data": [folders[0], folders[1] + "/."]}), data[1:])
    assert (len(elsewhere.runs), len(elsewhere.equal)) == (1, 1)
    assert plan.runs[0].arguments[:2] == ("--model.mel_weight=0", "--data.segment=8192")
    assert plan.runs[3].arguments[2] == "--seed=1235"


def test_two_ablations_combined_are_a_run_of_their_own(data, monkeypatch):
    class Both(WithoutMPD, WithoutMSD):
        __module__ = hifigan_table3.__name__
        __qualname__ = "Both"

    monkeypatch.setattr(hifigan_table3, "Both", Both, raising=False)
    plan = make_plan("test", Sweep([WithoutMPD, WithoutMSD, Both]), data)
    assert (len(plan.runs), plan.equal) == (3, {})
    assert len({run.path for run in plan.runs}) == 3


def test_a_system_whose_identity_depends_on_what_it_is_built_of_is_built(data, monkeypatch):
    class Built(Full):
        __module__ = hifigan_table3.__name__
        __qualname__ = "Built"
        channels = 16

        def build(self):
            super().build()
            self.found = self.generator.conv_pre.out_channels

        def resolved(self):
            return super().resolved() | {"found": self.found}

    monkeypatch.setattr(hifigan_table3, "Built", Built, raising=False)
    plan = make_plan("test", Sweep([Built], grid={"model.channels": [16, 32]}), data)
    assert len(plan.runs) == 2
    for run in plan.runs:
        assert open_experiment(run.command()[2:]).plan.folder().path == run.path


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        (
            Sweep([Full], grid={"model.mel_wieght": [1]}),
            r"no argument --model\.mel_wieght: did you mean --model\.mel_w",
        ),
        (Sweep([Full], grid={"model.mel_weight": ["much"]}), "model.mel_weight = much: must be a number of at least 0"),
        (Sweep([Full], grid={"trainer.max_step": [1]}), r"did you mean --trainer\.max_steps"),
        (Sweep([Full.variant(mel_weight=3.0)]), "write a class of its own"),
        (Sweep([Full], grid={"data.batch_size": [4]}), r"leave --data\.batch_size out"),
    ],
)
def test_mistakes_are_a_line_before_anything_runs(data, sweep, message):
    with pytest.raises(SweepError, match=message) as refused:
        make_plan("test", sweep, [*data, "--data.batch_size=2"])
    assert "\n" not in str(refused.value)


def test_cost_is_that_of_the_nearest_relative(data):
    plan = make_plan("test", Sweep([Full, WithoutMRF], seeds=2), [*data, "--data.batch_size=3"])
    first, other, second, _ = plan.runs
    assert estimate(first, plan.root).source == "unknown"

    def trained(run, rate, steps):
        run.path.mkdir(parents=True)
        run.folder.config.write_text(yaml.safe_dump({"family": run.family}))
        rows = "".join(f"{step},{rate}\n" for step in range(100, steps + 1, 100))
        (run.path / "metrics.csv").write_text(f"step,speed/samples_per_second\n{rows}")

    trained(other, 6, 500)
    found = estimate(first, plan.root)
    assert found.hours == pytest.approx(0.5 * first.max_steps / 3600)
    assert "same system" in found.source
    trained(first, 3, 500)
    assert estimate(second, plan.root).hours == pytest.approx(1.0 * first.max_steps / 3600)
    assert estimate(first, plan.root).hours == pytest.approx(1.0 * (first.max_steps - 500) / 3600)
    first.folder.write_summary({"state": "finished", "steps": 0})
    assert estimate(first, plan.root).hours == 0.0


def test_a_sweep_is_kept_and_read_back(data, tmp_path, capsys):
    plan = make_plan("table", Sweep([Full], grid={"model.mel_weight": [15]}), [*data[:1], f"--runs={tmp_path}"])
    path = write_record(tmp_path, "table", "why?", plan.runs)
    assert read_record(tmp_path, "table") == ("why?", plan.runs)
    plan.runs[0].fail("exit status 1")
    assert main(["status", "table", "--runs", str(tmp_path)]) == 0
    assert "failed: exit status 1" in capsys.readouterr().out
    assert main(["status", "tabel", "--runs", str(tmp_path)]) == 2
    assert "did you mean table?" in capsys.readouterr().err
    path.write_text(json.dumps({"runs": [{}]}))
    assert main(["status", "table", "--runs", str(tmp_path)]) == 2
    assert "is damaged" in capsys.readouterr().err


def test_sweeps_are_found_by_name():
    name, sweep, question = find_sweep("ablations.hifigan_table3.table3")
    assert (name, sweep) == ("hifigan_table3", table3)
    assert question.startswith("How much does each part of HiFi-GAN contribute?")
    assert find_sweep("hifigan_table3")[1] is table3
    with pytest.raises(UnknownExperimentError, match="did you mean hifigan_table3"):
        find_sweep("hifigan_table4")
    assert HiFiGANV3 not in table3.experiments


def test_a_run_begun_by_other_code_or_half_written_is_said_in_the_plan(data, tmp_path):
    def planned():
        return make_plan("test", Sweep([Full]), [*data[:1], f"--runs={tmp_path}"]).runs[0]

    run = planned()
    assert run.note == ""
    run.folder.write_config({"provenance": {"source": "2:other", "commit": "abcdef0123456789"}})
    assert planned().note == "trained by other code: since commit abcdef0123"
    plan = make_plan("test", Sweep([Full]), [*data[:1], f"--runs={tmp_path}"])
    assert rerun(plan, True, Console()).runs[0].note.endswith("abcdef0123; is made again")
    assert run.folder.config.exists()
    assert rerun(plan, False, Console()).runs == [replace(planned(), note="", outdated=False)]
    assert not run.path.exists()
    assert [path.name.partition(".")[0] for path in run.folder.earlier()] == [run.signature]
    run.folder.write_config({})
    run.folder.config.write_text("identity: [")
    assert planned().note == "its config.yaml is damaged"
    run.folder.summary_file.write_text("{")
    assert planned().state() == "damaged"


def test_a_dry_plan_prepares_no_data_and_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "takes").mkdir()
    soundfile.write(tmp_path / "takes" / "a.wav", 0.1 * np.ones(40_000), 22050)
    monkeypatch.setattr(AudioFolder, "prepare_data", lambda self: pytest.fail("the data were prepared"))
    overrides = ["--data", str(tmp_path / "takes"), "--runs", str(tmp_path / "runs")]
    assert main(["sweep", "hifigan_table3", "--dry", *overrides]) == 0
    shown = capsys.readouterr().out
    assert "are not prepared yet, so it is not known which of these are finished" in shown
    assert not (tmp_path / "runs").exists()


def test_a_dry_plan_on_prepared_data_is_the_plan(data):
    sweep = Sweep([Full, WithoutMel], seeds=2)
    assert make_plan("test", sweep, data, prepares_data=False) == make_plan("test", sweep, data)
