"""Whole pieces: the same seed is the same bytes, every layer can be one's own, and mistakes are one line."""

import json
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import soundfile
import torch
from song_examples import chorale

from datamodules.chorale_layouts import CHORALE_FORM, CHORALE_INNER, CHORALE_OUTER, CHORALE_SKELETON
from datamodules.loudness import LoudnessMeter
from datamodules.song_files import load_song, save_midi, save_song
from datamodules.song_levels import SongLevel
from framework.cli import main
from framework.commands import compose
from framework.commands.experiment import open_experiment
from framework.generators.wholesong import SmallSongLevel

FOUR = (CHORALE_FORM, CHORALE_SKELETON, CHORALE_OUTER, CHORALE_INNER)


def level(shown):
    data = type(
        "Data", (SongLevel,), {"layout": shown, "__annotations__": {"layout": ClassVar}, "__module__": __name__}
    )
    sizes = {"channels": 4, "multipliers": (1, 2), "attention": (), "width": 4, "sampling_steps": 20}
    # Untrained, all notes are as likely: a few large steps would take their mean, which is next to silence.
    names = {
        "data": data,
        "temperature": 1.0,
        **sizes,
        "__module__": __name__,
        "__qualname__": "Tiny",
        "__doc__": "Tiny.",
    }
    return type("Tiny", (SmallSongLevel,), names)().eval()


levels_of = compose.levels


@pytest.fixture(scope="module")
def four():
    torch.manual_seed(0)
    return [level(shown) for shown in FOUR]


@pytest.fixture(autouse=True)
def untrained(monkeypatch, four):
    monkeypatch.setattr(compose, "levels", lambda settings, names: [four[compose.LEVELS.index(name)] for name in names])


def composed(output, *arguments):
    assert main(["compose", "--output", str(output), *map(str, arguments)]) == 0
    return output.with_suffix("")


def test_a_piece_is_a_function_of_its_seed_and_has_the_form_that_was_asked_for(tmp_path):
    first = composed(tmp_path / "first.wav", "--seed", 7, "--form", "A4B3A4")
    second = composed(tmp_path / "second.wav", "--seed", 7, "--form", "a4b3a4")
    other = composed(tmp_path / "other.wav", "--seed", 8, "--form", "A4B3A4")
    read = {folder: folder.with_suffix(".wav").read_bytes() for folder in (first, second, other)}
    assert read[first] == read[second] != read[other]
    song = load_song(first / "song.json")
    assert [(p.kind, p.units) for p in song.phrases] == [(0, 4), (1, 3), (0, 4)]
    assert song.length == 22
    assert max(note.end for notes in song.voices.values() for note in notes) <= 22
    melody = [n for n in load_song(first / "skeleton.json").voices["skeleton"] if n.onset < 4 or n.onset >= 7]
    assert [n.midi for n in melody if n.onset < 4] == [n.midi for n in melody if n.onset >= 7]
    page = (first / "index.html").read_text()
    assert page.count("<svg") == 2
    assert "../first.wav" in page
    assert {"form.json", "skeleton.json", "outer.json", "voices.json", "song.mid", "spectrogram.png"} <= {
        path.name for path in first.iterdir()
    }
    mix, rate = soundfile.read(first.with_suffix(".wav"))
    meter = LoudnessMeter(rate)
    meter.add(mix)
    assert meter.loudness() == pytest.approx(-16, abs=0.2)


def test_every_layer_can_be_ones_own(tmp_path, monkeypatch):
    song = chorale("A")
    save_song(tmp_path / "outer.json", song.transposed(0))
    with monkeypatch.context() as nothing_is_trained:
        nothing_is_trained.setattr(compose, "levels", levels_of)
        nothing_is_trained.chdir(tmp_path)
        folder = composed(tmp_path / "whole.wav", "--start", tmp_path / "outer.json")
        assert load_song(folder / "song.json").voices == load_song(tmp_path / "outer.json").voices
    start = load_song(tmp_path / "outer.json")
    plain = json.loads((tmp_path / "outer.json").read_text())
    del plain["voices"]["alto"], plain["voices"]["tenor"]
    (tmp_path / "outer.json").write_text(json.dumps(plain))
    folder = composed(tmp_path / "below.wav", "--start", tmp_path / "outer.json")
    kept = load_song(folder / "voices.json")
    assert kept.voices["bass"] == start.voices["bass"]
    assert "alto" in kept.voices

    save_midi(tmp_path / "own.mid", {"tune": song.voices["soprano"]}, song.steps, 120)
    folder = composed(tmp_path / "own.wav", "--score", tmp_path / "own.mid", "--instruments", "flute")
    stem, rate = soundfile.read(folder / "stems" / "00_tune.wav")
    assert len(stem) / rate == pytest.approx(8 / 2 + 1.5, abs=0.01)

    noise = 0.1 * np.random.default_rng(0).standard_normal(rate)
    (tmp_path / "stems").mkdir()
    for name in ("00_tune", "drums"):
        soundfile.write(tmp_path / "stems" / f"{name}.wav", noise, rate)
    folder = composed(tmp_path / "swapped.wav", "--score", tmp_path / "own.mid", "--stems", tmp_path / "stems")
    stem, _ = soundfile.read(folder / "stems" / "00_tune.wav")
    np.testing.assert_allclose(stem, noise, atol=1e-4)
    assert (folder / "stems" / "drums.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--form", "AXA"], "phrases are named from A to F"),
        (["--form", "A-B"], "is no form"),
        (["--form", "A99"], "1 to 16"),
        (["--form", "A" * 17], "at most 128"),
        (["--seed", "-1"], "0 or more"),
        (["--seed", "x"], "seed"),
        (["--tempo", "0"], "20 to 300"),
        (["--lufs", "3"], "-60 to 0"),
        (["--instruments", "violine"], "violin"),
        (["--output", "song.mp3x"], "wav"),
        (["--score", "none.mid"], "none.mid"),
        (["--start", "none.json"], "none.json"),
        (["--stems", "none"], "none"),
        (["--form", "A", "--score", "x.mid"], "one of them"),
        (["--sead", "1"], "did you mean"),
    ],
)
def test_mistakes_are_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["compose", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.glob("*.wav"))


def test_training_goes_on_where_a_level_was_interrupted(tmp_path, monkeypatch):
    fitted = []
    monkeypatch.setattr(compose.fit, "run", lambda arguments: fitted.append(arguments[0]))
    monkeypatch.setattr(compose, "load_weights", lambda cli: None)
    monkeypatch.setattr(compose, "LEVELS", compose.LEVELS[:2])
    for name in compose.LEVELS:
        folder = open_experiment("fit", [name, "--runs", str(tmp_path)]).folder()
        folder.checkpoints.mkdir(parents=True)
        torch.save({}, folder.checkpoints / "last.ckpt")
        if name == compose.LEVELS[0]:
            folder.write_summary({"steps": 1})
    levels_of(SimpleNamespace(runs=str(tmp_path), train=True), compose.LEVELS)
    assert fitted == [compose.LEVELS[1]]
