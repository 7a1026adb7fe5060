"""`ostinato listen` from a comparison to its tables, its page and its W&B record."""

import json
import math

import pytest
from evaluation.stored_evaluations import CLIPS, store, three_runs
from listening.made_comparisons import answer
from tracking.wandb_file import records

from framework.cli import main
from framework.evaluation.comparison import compare
from framework.listening.columns import with_listening
from framework.sweeps.comparing import write

WORTH = {"ground truth": 5, "full": 3, "without_mpd": 4, "without_mel": 1, "Griffin-Lim": 2}


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """Return runs and the folder of their comparison, heard by made-up listeners, logged to W&B offline."""
    root = tmp_path_factory.mktemp("heard")
    runs, folder = three_runs(root / "runs", clips=CLIPS[:2]), root / "out"
    write(compare(runs, name="question"), folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        for kind in ("mos", "ab"):
            assert main(["listen", str(folder), "--kind", kind, "--no-server"]) == 0
        answer(folder / "listening" / "mos", 3, lambda n, clip, column, columns: max(1, WORTH[column] - (n == 0)))
        answer(
            folder / "listening" / "ab",
            3,
            lambda n, clip, column, columns: int(WORTH[column] == max(map(WORTH.get, columns))),
        )
        assert main(["listen", str(folder), "--results"]) == 0
    return runs, folder


def test_scores_stand_first_in_the_comparison_with_their_own_intervals(heard):
    _, folder = heard
    found = json.loads((folder / "comparison.json").read_text())
    assert list(found["metrics"])[:3] == ["mos", "ab", "log_mel_error"]
    listening = json.loads((folder / "listening.json").read_text())["tests"]
    for figure in listening["mos"]["figures"]:
        score = found["scores"]["mos"][figure["column"]]
        assert [score[end] for end in ("mean", "low", "high")] == [figure[end] for end in ("mean", "low", "high")]
        assert score["values"] == [figure["clips"][clip] for clip in CLIPS[:2]]
    assert found["scores"]["mos"]["without_mpd"]["difference"]["mean"] == pytest.approx(1)
    assert found["scores"]["ab"]["without_mpd"]["mean"] == 1
    assert found["scores"]["ab"]["without_mel"]["difference"]["p"] == pytest.approx(2 / 2**3), "of three listeners"
    told = next(f for f in listening["mos"]["figures"] if f["column"] == "without_mpd")["differences"]["full"]
    difference = found["scores"]["mos"]["without_mpd"]["difference"]
    assert [difference[end] for end in ("low", "high", "p")] == [told[end] for end in ("low", "high", "p")]
    assert any("MOS: 30 ratings of 3 listeners on 2 clips" in remark for remark in found["remarks"])
    text = (folder / "comparison.md").read_text()
    assert "MOS \N{UPWARDS ARROW}" in text
    assert "preferred to full \N{UPWARDS ARROW}" in text
    page = (folder / "page" / "data.js").read_text()
    assert '"mos":{"title":"MOS"' in page


def test_a_later_comparison_has_them_and_leaves_out_what_was_not_heard(heard, tmp_path):
    runs, folder = heard
    again = with_listening(compare(runs), folder)
    assert again.scores["mos"]["full"].interval.mean == pytest.approx(8 / 3)
    other = with_listening(compare(runs, "without_mel"), folder)
    assert "ab" not in other.metrics, "nobody was asked about this baseline"
    assert "preferred to full: no score, because the baseline of this comparison is without_mel" in other.remarks
    assert other.scores["mos"]["full"].difference.mean == pytest.approx(8 / 3 - 1)
    further = store(tmp_path, "without_mel", "cccccc", 0, 1.8, clips=CLIPS[:2], audio=False, step=8000)
    found = with_listening(compare([*runs[:3], further]), folder)
    assert "without_mel" not in found.scores["mos"]
    assert "MOS: no score of without_mel, which was rated at other steps or not at all" in found.remarks


def test_results_of_an_earlier_version_are_read_without_their_intervals(heard, tmp_path):
    runs, folder = heard
    values = json.loads((folder / "listening.json").read_text())
    values["version"] = 1
    for test in values["tests"].values():
        for figure in test["figures"]:
            del figure["differences"]
    (tmp_path / "listening.json").write_text(json.dumps(values))
    found = with_listening(compare(runs), tmp_path)
    assert found.scores["mos"]["full"].interval.mean == pytest.approx(8 / 3)
    assert math.isnan(found.scores["mos"]["full"].interval.low)
    assert math.isnan(found.scores["ab"]["without_mel"].p)
    assert any("treated the ratings of one listener as independent" in remark for remark in found.remarks)


def test_the_record_of_wandb_has_them_too(heard):
    _, folder = heard
    (path,) = next(iter(folder.glob("wandb/offline-run-*"))).glob("*.wandb")
    summary, files = {}, set()
    for record in records(path):
        summary |= {".".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.summary.update}
        if record.HasField("artifact") and record.artifact.type == "comparison":
            files |= {entry.path for entry in record.artifact.manifest.contents}
        elif record.request.log_artifact.artifact.type == "comparison":
            files |= {entry.path for entry in record.request.log_artifact.artifact.manifest.contents}
    assert summary["mos/full"] == pytest.approx(8 / 3)
    assert summary["ab/without_mpd"] == 1
    assert files == {"comparison.json", "comparison.md", "listening.json", "listening.md"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "'nothing' is no run folder and no sweep"),
        (["{folder}", "--import", "x.json"], "--import comes with --results"),
        (["{folder}", "--results", "--import", "none.json"], "none.json cannot be read (No such file or directory)"),
        (["{folder}", "--clips", "0"], "--clips is 1 or more"),
        (["{folder}", "--kind", "abx"], "invalid choice: 'abx'"),
        (["{folder}", "--kind", "mos", "--clips", "1"], "rename it to start a new test"),
        (["{folder}", "--kind", "mos", "--port", "99999"], "port 99999 is not available"),
    ],
)
def test_a_mistake_is_one_line(heard, arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["listen", *(a.format(folder=heard[1]) for a in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
