"""A comparison as W&B records it offline, read back from its file."""

import json

import numpy as np
import pytest
import soundfile
from evaluation.stored_evaluations import CLIPS, RATE, three_runs
from wandb_file import read, records

from framework.evaluation.comparison import compare
from framework.sweeps.comparing import write
from framework.tracking.comparison_log import log_comparison
from framework.tracking.lineage import artifact_name


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """Return a comparison of runs of which one has W&B files, with its folder, logged offline."""
    root = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        runs = three_runs(root / "runs", clips=CLIPS[:3])
        (runs[0].folder.parents[1] / "wandb" / "offline-run-20200101_000000-aaaa0").mkdir(parents=True)
        comparison = compare(runs, name="question")
        write(comparison, root / "out")
        log_comparison(comparison, root / "out", "question")
        yield comparison, root / "out"


def artifacts(folder):
    """Return the artifact records of the latest offline run in a folder."""
    (path,) = sorted(folder.glob("wandb/offline-run-*"))[-1].glob("*.wandb")
    return [
        record.request.log_artifact.artifact if record.HasField("request") else record.artifact
        for record in records(path)
        if record.HasField("artifact") or record.request.HasField("log_artifact")
    ]


def test_the_run_says_what_it_compares_and_scores(logged):
    comparison, folder = logged
    found = read(folder)
    assert (found["run"].run_group, found["run"].job_type) == ("question", "comparison")
    assert list(found["run"].tags) == ["comparison", "question"]
    assert found["config"]["baseline"] == "full"
    assert found["config"]["runs"]["without_mel"]["changes"] == {"model.mel_weight": "0.0"}
    assert found["config"]["runs"]["full"]["runs"] == ["aaaa0", "aaaa1"]
    (path,) = next(iter(folder.glob("wandb/offline-run-*"))).glob("*.wandb")
    summary = {}
    for record in records(path):
        for item in record.summary.update:
            summary[".".join(item.nested_key) or item.key] = json.loads(item.value_json)
    score = comparison.scores["log_mel_error"]["without_mpd"]
    assert summary["log_mel_error/without_mpd"] == pytest.approx(score.interval.mean)


def test_sounds_and_pictures_are_in_the_runs_own_folder(logged):
    comparison, folder = logged
    found = read(folder)
    rows = {name: value for row in found["history"] for name, value in row.items()}
    names = ("ground_truth", "full", "without_mpd", "without_mel", "Griffin-Lim")
    assert {f"audio/{clip}/{name}" for clip in CLIPS[:3] for name in names} <= rows.keys()
    for clip in CLIPS[:3]:
        audio = rows[f"audio/{clip}/without_mpd"]
        heard, rate = soundfile.read(found["files"] / audio["path"])
        true = soundfile.read(comparison.columns[2].audio(clip))[0]
        assert (audio["_type"], rate) == ("audio-file", RATE)
        np.testing.assert_array_equal(heard, true)
        assert (found["files"] / rows[f"log_mel/{clip}"]["path"]).stat().st_size > 5000
    for metric in comparison.metrics:
        assert (found["files"] / rows[f"intervals/{metric}"]["path"]).exists()
        assert f"chart/{metric}_table" in rows


def test_tables_hold_clips_by_runs_and_all_scores(logged):
    comparison, folder = logged
    found = read(folder)
    rows = {name: value for row in found["history"] for name, value in row.items()}
    clips = json.loads((found["files"] / rows["comparison/clips"]["path"]).read_text())
    assert len(clips["data"]) == 3
    assert [row[0] for row in clips["data"]] == CLIPS[:3]
    assert clips["columns"][:4] == ["clip", "log_mel", "ground truth", "ground truth log_mel_error"]
    place = clips["columns"].index("without_mel log_mel_error")
    values = comparison.scores["log_mel_error"]["without_mel"].values
    assert [row[place] for row in clips["data"]] == pytest.approx(values)
    scores = json.loads((found["files"] / rows["comparison/scores"]["path"]).read_text())
    row = next(r for r in scores["data"] if r[:2] == ["without_mel", "si_sdr"])
    score = comparison.scores["si_sdr"]["without_mel"]
    known = [score.interval.mean, score.interval.low, score.interval.high, 3, None, score.difference.mean]
    assert row[2:8] == pytest.approx(known)
    assert row[10:13] == pytest.approx([score.difference.p, score.p, False])
    # One seed says nothing about the method.
    assert row[13:] == [None] * 4


def test_lineage_leads_from_the_training_through_its_evaluation(logged):
    comparison, folder = logged
    evaluations = [e for column in comparison.runs for e in column.evaluations]
    used = {a.name: a for a in artifacts(folder) if a.use_after_commit}
    assert used.keys() == {artifact_name(e) for e in evaluations}
    (made,) = [a for a in artifacts(folder) if a.type == "comparison"]
    assert {entry.path for entry in made.manifest.contents} == {"comparison.json", "comparison.md"}
    training = evaluations[0].folder.parents[1]
    (produced,) = artifacts(training)
    assert not produced.use_after_commit
    assert (produced.name, produced.digest) == (used[produced.name].name, used[produced.name].digest)
    run = read(training)["run"]
    assert (run.run_id, run.run_group, run.job_type) == ("aaaa0", "aaaa", "train")
    assert not (evaluations[1].folder.parents[1] / "wandb").exists(), "a run without W&B is left without it"


def test_nothing_is_logged_twice(logged):
    comparison, folder = logged
    training = comparison.runs[0].evaluations[0].folder.parents[1]
    before = sorted(folder.glob("wandb/*")) + sorted(training.glob("wandb/*"))
    log_comparison(comparison, folder, "question")
    assert sorted(folder.glob("wandb/*")) + sorted(training.glob("wandb/*")) == before
