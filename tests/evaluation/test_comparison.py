"""Comparisons: every number recomputed by other means, seeds, changes, what is refused, and the command."""

import itertools
import json
import math

import numpy as np
import pytest
from evaluation.stored_evaluations import CLIPS, store, three_runs
from scipy import stats

from framework.cli import main
from framework.evaluation.columns import ComparisonError
from framework.evaluation.comparison import compare
from framework.evaluation.comparison_table import comparison_json, comparison_markdown, comparison_table
from framework.evaluation.evaluation import load_evaluation
from framework.evaluation.metrics.shelf import metrics_named
from framework.evaluation.table import evaluation_table
from framework.evaluation.variance_components import crossed
from framework.runs.folder import RunFolder
from framework.sweeps.record import PlannedRun, write_record
from framework.workflow import comparisons


def flips(differences):
    """Return the p of a sign-flip test, counted the slow way."""
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=8)
    ]
    return sum(total >= abs(sum(differences)) - 1e-9 for total in sums) / len(sums)


def test_every_number_is_that_of_an_independent_computation(tmp_path):
    runs = three_runs(tmp_path, audio=False)
    found = json.loads(comparison_json(compare(runs)))
    assert [column["name"] for column in found["columns"]] == [
        "ground truth", "full", "without_mpd", "without_mel", "Griffin-Lim"
    ]  # fmt: skip
    for metric, better in (("log_mel_error", "lower"), ("si_sdr", "higher")):
        first, second, *others = (np.array(run.metrics[metric]["values"]) for run in runs)
        baseline = (first + second) / 2
        scores = found["scores"][metric]
        assert found["metrics"][metric]["better"] == better
        assert scores["full"]["values"] == pytest.approx(baseline)
        assert scores["full"]["seeds"] == pytest.approx([first.mean(), second.mean()])
        assert scores["full"]["deviation"] == pytest.approx(np.std([first.mean(), second.mean()], ddof=1))
        assert "difference" not in scores["full"]
        raw = [flips(values - baseline) for values in others]
        for name, values, p in zip(("without_mpd", "without_mel"), others, raw, strict=True):
            difference = scores[name]["difference"]
            assert difference["mean"] == pytest.approx((values - baseline).mean())
            interval = stats.t.interval(0.95, 7, (values - baseline).mean(), stats.sem(values - baseline))
            assert [difference["low"], difference["high"]] == pytest.approx(list(interval))
            assert difference["p"] == pytest.approx(p)
            corrected = min(1, 2 * p) if p == min(raw) else max(min(1, 2 * min(raw)), p)
            assert difference["p_corrected"] == pytest.approx(corrected)
            assert difference["significant"] == (corrected < 0.05)
        reference = scores["Griffin-Lim"]["difference"]
        assert reference["p_corrected"] is None
        assert not reference["significant"]
    assert found["scores"]["log_mel_error"]["without_mpd"]["difference"]["significant"]
    distance = found["scores"]["frechet_distance"]
    assert (distance["full"]["mean"], distance["full"]["low"]) == pytest.approx((2.1, 1.05))
    assert distance["full"]["uncorrected"] == pytest.approx(2.5 * 1.05)
    assert distance["without_mpd"]["difference"]["mean"] == pytest.approx(1.2 - 2.1)
    assert distance["without_mpd"]["difference"]["p"] is None
    assert distance["Griffin-Lim"]["mean"] == 1.0
    assert "ground truth" not in distance


def test_methods_are_compared_over_seeds_and_recordings(tmp_path):
    runs = [
        store(tmp_path, name, family, seed, error + 0.1 * seed, {"mel_weight": weight}, audio=False)
        for name, family, error, weight in (("full", "aaaa", 1.0, 45.0), ("without_mpd", "bbbbb", 0.6, 15.0))
        for seed in range(3)
    ]
    other = store(tmp_path, "without_mel", "cccccc", 0, 1.8, {"mel_weight": 0.0}, audio=False)
    found = compare([*runs, other])
    scores = found.scores["log_mel_error"]
    values = np.array([run.metrics["log_mel_error"]["values"] for run in runs])
    expected = crossed(values[3:] - values[:3])
    method = scores["without_mpd"].method
    assert (method.mean, method.low, method.high, method.p) == pytest.approx(
        (expected.mean, expected.low, expected.high, expected.p)
    )
    assert scores["without_mpd"].method_p == pytest.approx(expected.p)
    assert scores["without_mpd"].method_significant
    # One seed is no sample of trainings.
    assert scores["without_mel"].method is None
    assert not scores["without_mel"].method_significant
    assert "no statement about the method where there is one seed (without_mel): train more seeds" in found.remarks
    assert comparison_table(found).count("\N{DAGGER}") >= 1
    assert json.loads(comparison_json(found))["scores"]["log_mel_error"]["without_mpd"]["method"]["significant"]


def test_changes_and_costs_stand_in_the_table(tmp_path):
    found = compare(three_runs(tmp_path, audio=False), "without_mpd", ["si_sdr"])
    baseline, full, without_mel = found.runs
    assert found.baseline == baseline.name == "without_mpd"
    assert list(found.metrics) == ["si_sdr"]
    assert (baseline.changes, full.changes) == ({}, {"model.mel_weight": (15.0, 45.0)})
    assert without_mel.cost["device_hours"] == pytest.approx(4000 * 0.9 * 2 / 3600)
    for text in (comparison_table(found), comparison_markdown(found)):
        assert "without_mpd (baseline)" in text
        assert "full (2 seeds)" in text
        assert "mel_weight" in text
        assert "seeds differ: without_mpd 0, full 0, 1, without_mel 0" in text


def test_runs_of_one_experiment_are_told_apart_by_what_they_change(tmp_path):
    runs = [store(tmp_path, "full", f, 0, 1.0, {"mel_weight": w}, audio=False) for f, w in (("a", 15.0), ("bb", 45.0))]
    best = store(tmp_path, "full", "a", 0, 1.0, {"mel_weight": 15.0}, audio=False)
    assert [c.name for c in compare(runs).runs] == ["full mel_weight=15.0", "full mel_weight=45.0"]
    best.folder = best.folder.with_name("validation_best")
    names = [c.name for c in compare([*runs, best]).runs]
    assert len(set(names)) == 3
    assert "full mel_weight=15.0 (validation_best)" in names
    with pytest.raises(ComparisonError, match=r"ambiguous: 'full mel_weight=15\.0' or 'full mel_weight=45\.0'"):
        compare(runs, "full")
    with pytest.raises(ComparisonError, match=r"did you mean full mel_weight=15\.0"):
        compare(runs, "full mel_weight=15")


def test_systems_of_one_module_are_told_apart_by_their_class(tmp_path):
    runs = [store(tmp_path, "table", f, audio=False) for f in ("a", "bb")]
    config = runs[1].folder.parents[1] / "config.yaml"
    config.write_text(
        config.read_text().replace("framework.generators.hifigan:HiFiGAN", "experiments.table:WithoutMPD")
    )
    assert [c.name for c in compare(runs).runs] == ["table HiFiGAN", "table WithoutMPD"]


def test_a_clip_without_a_value_takes_no_part_and_is_told_of(tmp_path):
    runs = three_runs(tmp_path, audio=False)
    runs[2].metrics["log_mel_error"]["values"][0] = None
    runs[2].notes = {"audio": {CLIPS[0]: "NaN or infinite samples"}}
    found = compare(runs)
    score = found.scores["log_mel_error"]["without_mpd"]
    baseline = found.scores["log_mel_error"]["full"].values
    pairs = [a - b for a, b in zip(score.values[1:], baseline[1:], strict=True)]
    assert score.interval.count == score.difference.count == 7
    assert score.difference.mean == pytest.approx(np.mean(pairs))
    assert "without_mpd: no audio of 1 clips (NaN or infinite samples)" in found.remarks


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sample_rate": 24000}, "22050 Hz and 24000 Hz"),
        ({"data": {"class": "Noise", "fingerprint": "beef", "split": "validation"}}, "fingerprint, 'f00d' and 'beef'"),
        ({"data": {"class": "Noise", "fingerprint": "f00d", "split": "test"}}, "split, 'validation' and 'test'"),
        ({"clips": CLIPS[:4]}, "8 and 4 clips"),
        ({"clips": [*CLIPS[:7], "other"]}, "eight and other"),
        ({"family": "aaaa", "step": 20}, "at steps 20 and 4,000"),
    ],
)
def test_what_cannot_stand_beside_each_other_is_refused_with_both_values(tmp_path, fields, message):
    one = store(tmp_path, "full", "aaaa", audio=False)
    other = store(tmp_path, "half", fields.pop("family", "bbbbb"), 1, audio=False, **fields)
    with pytest.raises(ComparisonError, match=message) as error:
        compare([one, other])
    assert "\n" not in str(error.value)


def test_one_metric_measured_in_two_ways_is_refused(tmp_path):
    one, other = store(tmp_path, "full", "aaaa", audio=False), store(tmp_path, "half", "bbbbb", 1, audio=False)
    other.distributions["frechet_distance"]["source"] = "another embedder"
    with pytest.raises(ComparisonError, match="'a third over bands' and 'another embedder'"):
        compare([one, other])
    with pytest.raises(ComparisonError, match="no run has pesq: there are log_mel_error"):
        compare([one], metrics=["pesq"])


def test_distances_of_sets_from_earlier_versions_stand_beside_new_ones_uncorrected(tmp_path):
    one, other = store(tmp_path, "full", "aaaa", audio=False), store(tmp_path, "half", "bbbbb", 1, audio=False)
    values = json.loads((other.folder / "values.json").read_text())
    entry = values["distributions"].pop("frechet_distance")
    for part in (entry, entry["columns"]["griffin_lim"]):
        del part["corrected"]
    values["distributions"]["frechet_audio_distance"] = entry | {"title": "Frechet audio distance"}
    (other.folder / "values.json").write_text(json.dumps(values))
    old = load_evaluation(other.folder)
    assert "frechet_distance" in old.distributions
    assert "Frechet distance (bands) \N{DOWNWARDS ARROW}" in evaluation_table(old)
    assert "2.500 uncorrected" in evaluation_table(old)
    found = compare([one, old], metrics=["frechet_audio_distance"])
    for score in found.scores["frechet_distance"].values():
        assert math.isnan(score.interval.low)
        assert math.isnan(score.uncorrected)
    assert found.scores["frechet_distance"]["full"].interval.mean == 2.5
    assert any("Frechet distance (bands): not corrected for its bias" in remark for remark in found.remarks)
    text = comparison_table(compare([one]))
    assert "2.000 [1.000, 3.000] (2.500 uncorrected)" in text
    assert "not corrected" not in text


def test_the_command_compares_what_is_finished_of_a_sweep(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    runs = three_runs(tmp_path)
    folders = [run.folder.parents[1] for run in runs]
    labels = ["Full seed=0", "Full seed=1", "WithoutMPD seed=0", "WithoutMel", "never"]
    planned = [
        PlannedRun(label, "full", (), f, f.name, f.name[:-1], int(f.name[-1]) if f.name[-1].isdigit() else 0)
        for label, f in zip(labels, [*folders, tmp_path / "full" / "never"], strict=True)
    ]
    for folder in folders:
        (folder / "summary.json").write_text(json.dumps({"state": "finished", "steps": 0}))
    for folder, version in zip(folders, ("1", "1", "2"), strict=False):
        RunFolder(folder).write_sources({"framework.losses.mel:MelLoss": version, f"of:{folder.name}": "3"})
    write_record(tmp_path, "question", "does it matter?", planned)
    assert main(["compare", "question", "--runs", str(tmp_path), "--baseline", "WithoutMel"]) == 0
    out, err = capsys.readouterr()
    assert "never is left out, it is new" in err
    (line,) = [line for line in err.splitlines() if "different code" in line]
    assert f"({folders[2]})" in line
    assert line.endswith("were trained by different code: framework.losses.mel:MelLoss")
    assert "3 runs on 8 validation clips" in out
    folder = tmp_path / "comparisons" / "question"
    assert json.loads((folder / "comparison.json").read_text())["baseline"] == "WithoutMel"
    assert "Full (2 seeds)" in (folder / "comparison.md").read_text()
    assert (folder / "page" / "index.html").exists()
    assert main(["compare", "question", "nothing", "--runs", str(tmp_path)]) == 2
    assert "'nothing' is no run folder and no sweep (sweeps in" in capsys.readouterr().err


def test_only_what_has_no_evaluation_that_serves_is_evaluated(tmp_path, monkeypatch):
    run = store(tmp_path, "full", "aaaa", audio=False)
    target = comparisons.target_of(str(run.folder.parents[1]))
    asked = []
    monkeypatch.setattr(comparisons, "evaluate", lambda what, **options: asked.append(options) or run)

    def needs(**options):
        asked.clear()
        assert comparisons.evaluated([target], **options) == [run]
        return asked

    assert needs() == needs(metrics=["si_sdr"]) == needs(clips=8) == []
    # What is known is measured again with what is not, and fewer clips have a place of their own.
    (asked_for,) = needs(metrics=["si_sdr", "pesq"])
    again = {m.name for m in metrics_named()} & {*run.metrics, *run.distributions}
    assert {*asked_for["metrics"]} == {*again, "si_sdr", "pesq"}
    (fewer,) = needs(clips=4)
    assert (fewer["clips"], fewer["name"]) == (4, "validation_4_clips")
    assert needs(split="test")[0]["split"] == "test"
    assert math.isnan(compare([run]).scores["si_sdr"]["full"].deviation)
