"""DCR and MUSHRA 1S: what is heard beside the reference, what is stored, and what is said of it."""

import json

import numpy as np
import pytest
from evaluation.chromium import Browser, chromium
from listening.made_comparisons import CLIPS, COLUMNS, answer, comparison, sounds

from framework.cli import main
from framework.listening.answers import ANSWERS, AnswerError, Answers, read_answers
from framework.listening.make import make_test
from framework.listening.plan import ListeningError, load_plan
from framework.listening.results import results_of
from framework.listening.server import serving

LOW = "3.5 kHz anchor"
RATED = {"dcr": COLUMNS, "mushra_1s": [*COLUMNS, LOW]}
OF_DCR = {"ground truth": 5, "full": 4, "without_mpd": 3, "without_mel": 1, "Griffin-Lim": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return comparison(tmp_path_factory.mktemp("kinds"))


@pytest.mark.parametrize("kind", ["dcr", "mushra_1s"])
def test_one_sound_is_rated_beside_the_true_reference(folder, kind):
    made = make_test(folder, kind, None, 0, False)
    plan = load_plan(made)
    assert make_test(folder, kind, None, 0, False) == made
    assert load_plan(made) == plan
    assert sorted((t.clip, *t.columns().values()) for t in plan.trials) == sorted(
        (clip, column) for clip in CLIPS for column in RATED[kind]
    )
    hidden = {t.clip: sounds(made / "page", t.id) for t in plan.trials if "ground truth" in t.columns().values()}
    for trial in plan.trials:
        heard = sounds(made / "page", trial.id)
        assert heard.keys() == {*trial.columns(), trial.reference} | ({trial.anchor} - {""})
        assert bool(trial.anchor) == (kind == "mushra_1s")
        truth = next(s for n, (_, s) in hidden[trial.clip].items() if _column(plan, n) == "ground truth")
        assert np.abs(heard[trial.reference][1] - truth).max() < 3 / 32768
        if trial.anchor:
            spectrum = np.abs(np.fft.rfft(heard[trial.anchor][1]))
            assert spectrum[len(spectrum) // 2 :].max() < 1e-2 * spectrum.max(), "low-passed"
    page = json.loads((made / "page" / "plan.js").read_text().partition("(")[2].rpartition(")")[0])
    assert {bool(trial.get("low")) for trial in page["trials"]} == {kind == "mushra_1s"}


def _column(plan, name):
    return next((t.columns()[name] for t in plan.trials if name in t.columns()), "")


def test_degradation_categories_are_averaged_and_ranked(folder, capsys):
    made = make_test(folder, "dcr", None, 0, False)
    said = {}

    def rating(listener, clip, column, columns):
        said[listener, clip, column] = max(1, OF_DCR[column] - (random.random() < 0.2))
        return said[listener, clip, column]

    random = np.random.default_rng(0)
    answer(made, 10, rating)
    (result,) = [r for r in results_of(folder) if r.plan.kind == "dcr"]
    means = {figure.column: figure.interval.mean for figure in result.figures}
    assert means["full"] == pytest.approx(np.mean([v for (_, _, column), v in said.items() if column == "full"]))
    assert result.ranks == {"full": (1, 1), "without_mpd": (2, 2), "without_mel": (4, 4), "Griffin-Lim": (3, 3)}
    assert 0.7 < result.alpha < 1
    assert main(["listen", str(folder), "--results"]) == 0
    assert "DMOS: 10 listeners, 10 of them finished, 3 clips; mean degradation category" in capsys.readouterr().out
    assert json.loads((folder / "listening.json").read_text())["tests"]["dcr"]["ranks"]["full"] == [1, 1]
    with Answers(load_plan(made), made / ANSWERS) as answers:
        trial = answers.plan.trials[0]
        with pytest.raises(AnswerError, match="from 1 to 5"):
            answers.add({"listener": f"{0:032x}", "trial": trial.id, "ratings": dict.fromkeys(trial.columns(), 0)})


def test_who_misses_the_hidden_reference_of_mushra_1s_is_excluded(folder):
    made = make_test(folder, "mushra_1s", None, 0, False)
    answer(made, 4, lambda n, clip, column, columns: 20 * OF_DCR.get(column, 0) - 15 * (n == 2 and "truth" in column))
    (result,) = [r for r in results_of(folder) if r.plan.kind == "mushra_1s"]
    assert result.listeners == 3
    assert "1 of 4 listeners excluded" in result.remarks[0]
    assert LOW not in result.ranks
    assert [figure.column for figure in result.figures] == [*COLUMNS, LOW]


def test_systems_without_a_reference_are_refused(tmp_path):
    own = comparison(tmp_path, columns=["ground truth", "full", "other"])
    for kind in ("dcr", "mushra_1s"):
        with pytest.raises(ListeningError, match="use --kind mos or ab"):
            make_test(own, kind, None, 0, False)


@pytest.mark.skipif(chromium() is None, reason="no chromium is installed (apt-get install chromium)")
@pytest.mark.parametrize("kind", ["dcr", "mushra_1s"])
def test_pages_by_keyboard(tmp_path, kind):
    made = make_test(
        comparison(tmp_path, clips=["one"], columns=["ground truth", "full", "Griffin-Lim"]), kind, None, 0, False
    )
    plan, enter = load_plan(made), ("Enter", 13)
    with Browser(tmp_path / "profile") as browser, serving(made, 0) as server:
        browser.call("Page.navigate", url=server.url)
        browser.wait("document.readyState === 'complete' && typeof test === 'object' && test")
        browser.evaluate("document.getElementById('begin').focus()")
        browser.press(*enter, text="\r")
        for index in range(len(plan.trials)):
            browser.wait(
                f"typeof current === 'object' && current && current.index === {index} && player.buffers.size > 1"
            )
            if kind == "dcr":
                browser.evaluate("player.playing || player.play()")
                browser.press("4")
                assert browser.evaluate("Object.keys(current.ratings).length") == 0, "both are heard first"
                browser.wait("player.playing && player.column === current.stimuli[0]")
                browser.wait("!document.querySelector('.choices').disabled")
                browser.press("4")
            else:
                browser.press("L")
                assert browser.evaluate("player.column === current.low")
                browser.press("A")
                browser.press("ArrowRight", 39)
            browser.wait("!document.getElementById('next').disabled")
            browser.press(*enter, text="\r")
        browser.wait("document.getElementById('stored').textContent === 'That was all. Your answers are stored.'")
        stored = read_answers(plan, made / ANSWERS)
        assert {value for ratings in stored.last.values() for value in ratings.values()} == {4 if kind == "dcr" else 51}
