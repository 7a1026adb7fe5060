"""What listeners hear: hidden reference and anchors are there, the rest is what was evaluated, names tell nothing."""

import json
import re

import numpy as np
import pytest
import soundfile
from listening.made_comparisons import CLIPS, COLUMNS, RATE, answer, comparison, sounds

from framework.evaluation.page.page import track_file
from framework.listening.make import make_test
from framework.listening.plan import ListeningError, load_plan
from framework.listening.stimuli import ANCHORS, anchors_at, low_passed


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return comparison(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def mushra(folder):
    return make_test(folder, "mushra", None, 0, False)


def power(samples, low, high):
    """Return the power of samples between two frequencies (Hz)."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
    frequencies = np.fft.rfftfreq(len(samples), 1 / RATE)
    return spectrum[(frequencies >= low) & (frequencies < high)].sum()


def decibels(made, true, low, high):
    return 10 * np.log10(power(made, low, high) / power(true, low, high))


@pytest.mark.parametrize("rate", [16000, 22050, 48000])
def test_anchors_are_those_of_the_recommendation(rate):
    assert list(anchors_at(rate)) == list(ANCHORS)[: 1 if rate == 16000 else 2]
    impulse = np.zeros(rate)
    impulse[rate // 2] = 1
    for band in anchors_at(rate).values():
        made = low_passed(impulse, band, rate)
        assert made.argmax() == rate // 2
        response = 20 * np.log10(np.abs(np.fft.rfft(made)) + 1e-12)  # a bin a Hz
        assert np.abs(response[: int(band)]).max() < 0.1
        assert response[int(band * 4 / 3.5)] < -25
        assert response[int(band * 4.5 / 3.5) :].max(initial=-99) < -50


def test_hidden_reference_anchors_and_runs_are_in_every_trial(folder, mushra):
    plan = load_plan(mushra)
    assert len(plan.trials) == len(CLIPS)
    for trial in plan.trials:
        number = CLIPS.index(trial.clip) + 1
        true = {c: soundfile.read(folder / "page" / "audio" / f"{track_file(number, trial.clip, i, c)}.wav")[0]
                for i, c in enumerate(COLUMNS)}  # fmt: skip
        found = sounds(mushra / "page", trial.id)
        columns = trial.columns()
        assert sorted(columns.values()) == sorted([*COLUMNS, *ANCHORS])
        assert found.keys() == columns.keys() | {trial.reference}
        assert (
            len({len(samples) for _, samples in found.values()}) == len({len(file) for file, _ in found.values()}) == 1
        )
        for name, column in (*columns.items(), (trial.reference, "ground truth")):
            samples = found[name][1]
            if column in true:
                same = true[column]
                assert np.abs(samples[: len(same)] - same).max() < 2.01 / 32768
                assert np.abs(samples[len(same) :]).max(initial=0) < 2.01 / 32768
            else:
                band = ANCHORS[column]
                reference = true["ground truth"]
                samples = samples[: len(reference)]
                assert abs(decibels(samples, reference, 50, band - 50)) < 0.1
                assert decibels(samples, reference, band * 4 / 3.5, band * 4.5 / 3.5) < -25
                assert decibels(samples, reference, band * 4.5 / 3.5, RATE / 2) < -50
        hidden = next(name for name, column in columns.items() if column == "ground truth")
        assert found[hidden][0] != found[trial.reference][0], "equal files would give the hidden reference away"


def test_nothing_that_is_served_tells_what_is_what(mushra):
    page, plan = mushra / "page", load_plan(mushra)
    texts = {f: re.sub('"[A-Za-z0-9+/=]{999,}"', "", f.read_text()) for f in page.rglob("*") if f.is_file()}
    secret = [*COLUMNS, *ANCHORS, *CLIPS, "run1", "table3", "mpd", "griffin", "anchor", str(mushra.parent)]
    for file, text in texts.items():
        assert not [word for word in secret if word in text], file
        assert re.fullmatch(r"[0-9a-f]{12}\.js|index\.html|test\.css|(player|scales|test|plan)\.js", file.name)
    (payload,) = re.findall(r"ostinatoTest\((.*)\);", texts[page / "plan.js"])
    listed = json.loads(payload)
    for given, trial in zip(listed["trials"], plan.trials, strict=True):
        assert given["stimuli"] == sorted(trial.columns())
    assert {file.name for file in mushra.iterdir()} >= {"plan.json", "page"}


def test_levels_are_matched_when_asked(folder, tmp_path):
    plain = comparison(tmp_path)
    made = make_test(plain, "mos", 1, 0, True)
    plan = load_plan(made)
    levels = {c: np.sqrt(np.mean(samples**2)) for t in plan.trials for name, c in t.columns().items()
              for _, samples in [sounds(made / "page", t.id)[name]]}  # fmt: skip
    assert len({len(samples) for t in plan.trials for _, samples in sounds(made / "page", t.id).values()}) == 1
    assert levels["Griffin-Lim"] == pytest.approx(levels["ground truth"], rel=0.01)


def test_the_same_test_is_found_again_and_another_does_not_take_its_answers(folder, mushra):
    plan = load_plan(mushra)
    assert make_test(folder, "mushra", None, 0, False) == mushra
    assert load_plan(mushra) == plan
    ab = make_test(folder, "ab", None, 0, False)
    first = load_plan(ab)
    assert load_plan(make_test(folder, "ab", 2, 0, False)).id != first.id
    answer(ab, 1, lambda listener, clip, column, columns: 0)
    with pytest.raises(ListeningError, match="rename it to start a new test"):
        make_test(folder, "ab", None, 0, False)


def test_what_cannot_be_tested_is_refused_in_one_line(tmp_path):
    own = comparison(tmp_path, columns=["ground truth", "full", "other"])
    with pytest.raises(ListeningError, match="do not reconstruct a clip; use --kind mos or ab"):
        make_test(own, "mushra", None, 0, False)
    with pytest.raises(ListeningError, match="contains no comparison"):
        make_test(tmp_path, "mos", None, 0, False)
