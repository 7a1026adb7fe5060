"""Whole pieces: the same seed is the same bytes, every layer can be one's own, and mistakes are one line."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

import mido
import numpy as np
import pytest
import soundfile
import torch
from midi_bytes import control, midi, off, on
from song_examples import chorale

from datamodules.bach.layouts import CHORALE_FORM, CHORALE_INNER, CHORALE_OUTER, CHORALE_SKELETON
from datamodules.streaming.song_levels import SongLevel
from framework.audio.integrated_loudness import LoudnessMeter
from framework.cli import main
from framework.composition.playing import PlayingError, sampled
from framework.generators.wholesong.system import SmallSongLevel
from framework.music.notes import Note
from framework.music.song_files import load_song, save_song
from framework.music.song_midi import save_midi
from framework.workflow import composing as compose
from framework.workflow.plan import resolve

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
    monkeypatch.setattr(compose, "levels", lambda names, *_: [four[compose.LEVELS.index(name)] for name in names])


def composed(output, *arguments):
    assert main(["compose", "--overwrite", "--output", str(output), *map(str, arguments)]) == 0
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
        (["--form", "AXA"], "name phrases from A to E"),
        (["--form", "ABF"], "name phrases from A to E"),
        (["--form", "A-B"], "is not a valid form"),
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
        (["--output", "taken.wav"], "taken is a file where a folder is needed"),
        (["--output", "taken/song.wav"], "taken is a file where a folder is needed"),
        (["--output", "folder.wav"], "folder.wav is a folder where a file is needed"),
        (["--output", ".wav"], "name a .wav or .flac file"),
        (["--stems", "song/stems"], "song/stems is written anew"),
        (["--stems", "song/stems/mine"], "song/stems is written anew"),
        (["--stems", "."], "song/stems is written anew"),
        (["--start", "coarse.json"], "1 steps a beat"),
        (["--form", "A", "--score", "x.mid"], "one of them"),
        (["--sead", "1"], "did you mean"),
    ],
)
def test_mistakes_are_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "song" / "stems" / "mine").mkdir(parents=True)
    (tmp_path / "song" / "stems" / "soprano.wav").touch()
    save_song(tmp_path / "coarse.json", replace(chorale("A"), steps=1, voices={}))
    assert main(["compose", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.rglob("*.wav")) == [tmp_path / "folder.wav", tmp_path / "song" / "stems" / "soprano.wav"]


LAYERS = {"form.json", "skeleton.json", "outer.json", "voices.json", "song.json", "song.mid"}


def layers_of(folder):
    """Return the layers that are in a folder, having seen that the page links those and no others."""
    linked = set(re.findall(r'<a href="([^"/]+)"', (folder / "index.html").read_text()))
    found = {path.name for path in folder.iterdir()} & LAYERS
    assert linked == found
    return found


def test_a_folder_has_one_piece_and_keeps_what_is_not_of_it(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    save_song(elsewhere / "song.json", chorale("A"))
    save_midi(elsewhere / "own.mid", {"tune": chorale("A").voices["soprano"]}, 2, 120)
    output = tmp_path / "song.wav"
    folder = composed(output, "--form", "A4")
    assert layers_of(folder) == LAYERS
    (folder / "stems" / "notes.txt").write_text("mine")
    (folder / "another").mkdir()
    (folder / "another" / "form.json").write_text("mine")

    # A level in the very folder is gone on from: those above it are of this piece.
    outer = (folder / "outer.json").read_bytes()
    composed(output, "--start", folder / "skeleton.json", "--seed", 5)
    assert layers_of(folder) == LAYERS
    assert (folder / "outer.json").read_bytes() != outer
    composed(output, "--score", folder / "song.mid")
    assert layers_of(folder) == LAYERS
    assert not (folder / "stems" / "00_tune.wav").exists()

    composed(output, "--start", elsewhere / "song.json")
    assert layers_of(folder) == {"song.json", "song.mid"}
    composed(output, "--score", elsewhere / "own.mid")
    assert layers_of(folder) == set()
    assert {path.name for path in (folder / "stems").iterdir()} == {"00_tune.wav", "notes.txt"}
    assert (folder / "another" / "form.json").exists()

    (folder / "stems").rename(elsewhere / "recordings")
    (folder / "stems").symlink_to(elsewhere / "recordings")
    composed(output, "--form", "A4")
    assert (elsewhere / "recordings" / "00_tune.wav").exists()


def test_drums_of_a_score_are_played_by_the_kit_and_by_no_trained_system(tmp_path, monkeypatch):
    begins, ends = {"type": "note_on", "velocity": 90}, {"type": "note_off", "time": 480}
    tracks = [
        mido.MidiTrack(mido.Message(**message, channel=channel, note=midi) for message in (begins, ends))
        for channel, midi in ((9, 38), (0, 69))
    ]
    mido.MidiFile(tracks=tracks).save(tmp_path / "own.mid")
    folder = composed(tmp_path / "song.wav", "--score", tmp_path / "own.mid", "--instruments", "flute")
    played = {}
    for path in (folder / "stems").iterdir():
        spectrum = np.abs(np.fft.rfft(soundfile.read(path)[0])) ** 2
        played[path.name] = spectrum[spectrum.size // 5 :].sum() / spectrum.sum()
    assert set(played) == {"00_track.wav", "01_track.wav"}
    assert played["01_track.wav"] < 0.01 < played["00_track.wav"], "a snare is noise, a flute is none"
    heard = []
    monkeypatch.setattr(compose, "through", lambda system, stem, notes, seed: heard.append(notes) or stem)
    performed = {"tune": [Note(0, 1, 69)], "kit": [Note(0, 1, 38)]}
    compose.play(performed, SimpleNamespace(instruments=["flute"], seed=0), [None], {}, {"kit"})
    assert heard == [performed["tune"]]


def test_what_was_not_understood_of_a_score_is_printed(tmp_path, capsys):
    (tmp_path / "own.mid").write_bytes(midi(on(60) + control(64, 127) + on(64, 480) + off(64, 480)))
    voices, tempo, percussion = compose.scored(tmp_path / "own.mid")
    assert voices == {"00_track": (Note(0, 2, 60), Note(1, 1, 64))}
    assert (tempo, percussion) == (120, frozenset())
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("own.mid: notes without an end: 1, sustain pedal events that are ignored: 1")


@pytest.mark.parametrize(("voices", "hours"), [(1, 3), (20, 1)])
def test_scores_that_do_not_fit_into_memory_are_refused(voices, hours):
    notes = {f"voice {number}": [Note(hours * 3600, 1, 60)] for number in range(voices)}
    with pytest.raises(PlayingError, match=f"too long to fit into memory: {voices} voices of {60 * hours} minutes"):
        sampled(notes, ["flute"])


def test_a_song_has_been_through_the_levels_whose_voices_it_has():
    song = chorale("A")
    without = {
        names: {n: v for n, v in song.voices.items() if n not in names}
        for names in ((), ("skeleton",), ("tenor",), ("bass",), tuple(song.voices))
    }
    assert [compose.made_levels(replace(song, voices=voices)) for voices in without.values()] == [4, 4, 3, 2, 1]


def test_training_goes_on_where_a_level_was_interrupted(tmp_path, monkeypatch):
    fitted = []
    monkeypatch.setattr(compose, "train", lambda plan: fitted.append(plan.name))
    monkeypatch.setattr(compose, "load_trained", lambda plan: plan)
    monkeypatch.setattr(compose, "LEVELS", compose.LEVELS[:2])
    for name in compose.LEVELS:
        folder = resolve(name, runs=tmp_path).folder()
        folder.checkpoints.mkdir(parents=True)
        torch.save({}, folder.checkpoints / "last.ckpt")
        if name == compose.LEVELS[0]:
            folder.write_summary({"state": "finished", "steps": 0})
    levels_of(compose.LEVELS, tmp_path, True)
    assert fitted == [compose.LEVELS[1]]
