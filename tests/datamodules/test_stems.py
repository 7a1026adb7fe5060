"""Single voices: the pitch that is told is the pitch that is heard, and music is in one split."""

import json

import numpy as np
import pytest
from test_soundfont import measured_pitch

from datamodules.bach.stem_clips import _joined
from datamodules.stems import BachStems
from datamodules.streaming.labels import load_f0
from framework.music.notes import Note
from framework.music.soundfont import SOLOS, Performance, render

RATE = 16_000
PIECES = {"pieces": 3, "clip_seconds": 6.0, "segment": 16_000, "batch_size": 4}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> BachStems:
    values = PIECES | {"cache": str(tmp_path_factory.mktemp("stems")), "f0_hop": 64, "labels": ("instrument",)}
    stems = BachStems(instruments=("violin", "bassoon"), **values)
    stems.prepare_data()
    return stems


def test_f0_is_the_pitch_that_is_heard(data):
    compared = 0
    for batch in data.test_dataloader():
        audio, f0 = batch["audio"][0, 0].numpy(), batch["f0"][0].numpy()
        for frame in range(25, len(f0) - 25, 41):
            if f0[frame] and np.ptp(f0[frame - 20 : frame + 20]) == 0:
                heard = audio[64 * (frame - 16) : 64 * (frame + 16)]
                assert abs(measured_pitch(heard, RATE, f0[frame] / 1.7, f0[frame] * 1.7) / f0[frame] - 1) < 0.01
                compared += 1
    assert compared > 100


def test_clips_sound_and_are_single_voices_in_the_range_of_their_instrument(data):
    reader = data.reader("train")
    names = set()
    for clip in range(len(reader)):
        facts = reader.metadata(clip)
        solo = SOLOS[facts["instrument_name"]]
        f0 = load_f0(reader.member(clip, "f0.npy"))
        voiced = f0[f0 > 0]
        assert 440 * 2 ** ((solo.lowest - 69.1) / 12) < voiced.min() <= voiced.max()
        assert voiced.max() < 440 * 2 ** ((solo.highest - 68.9) / 12)
        assert len(voiced) > 0.6 * len(f0)
        assert facts["instrument"] == ("violin", "bassoon").index(facts["instrument_name"])
        assert reader.peaks(np.array([clip])) > 0.05
        names.add(facts["instrument_name"])
    assert names == {"violin", "bassoon"}
    batch = next(iter(data.train_dataloader()))
    assert batch["audio"].shape == (4, 1, 16_000)
    assert batch["f0"].shape == (4, 250)


def test_no_piece_is_in_two_splits(data):
    pieces = []
    for split in ("train", "validation", "test"):
        reader = data.reader(split)
        pieces.append({json.loads(reader.member(clip, "json"))["piece"] for clip in range(len(reader))})
    assert [len(found) for found in pieces] == [1, 1, 1]
    assert len(set.union(*pieces)) == 3


def test_it_is_packed_once_for_each_recipe(data, monkeypatch):
    monkeypatch.setattr("datamodules.stems.pack_chorales", None)
    again = BachStems(instruments=data.instruments, cache=data.cache, **PIECES)
    again.prepare_data()
    assert again.folder == data.folder
    others = [BachStems(cache=data.cache, **(PIECES | v)) for v in ({}, {"pieces": 4}, {"clip_seconds": 5.0})]
    assert len({data.folder, *(other.folder for other in others)}) == 4


def test_rests_are_shortened():
    voice = [Note(2.0, 1.0, 60), Note(3.0, 1.0, 62), Note(9.0, 1.0, 64), Note(10.2, 1.0, 65)]
    assert [(n.onset, n.midi) for n in _joined(voice)] == [(0, 60), (1, 62), (2.5, 64), (pytest.approx(3.7), 65)]


@pytest.mark.parametrize("name", SOLOS)
def test_every_instrument_is_in_tune(name):
    solo = SOLOS[name]
    keys = np.unique(np.linspace(solo.lowest, solo.highest, 9).round().astype(int)).tolist()
    (stem,) = render([Performance([Note(0.8 * i, 0.7, k) for i, k in enumerate(keys)], solo.program, 90)], 8.0, 48_000)
    for place, key in enumerate(keys):
        wanted = 440 * 2 ** ((key - 69) / 12)
        begin = int((0.8 * place + 0.25) * 48_000)
        heard = measured_pitch(stem[begin:][: int(max(0.1, 4 / wanted) * 48_000)], 48_000, wanted / 1.9, wanted * 1.9)
        assert abs(1200 * np.log2(heard / wanted)) < 20, key


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"instruments": ("violine",)}, "did you mean violin"),
        ({"instruments": ()}, "name some of violin"),
        ({"instruments": ("flute", "flute")}, "twice"),
        ({"pieces": 2}, "at least 3 pieces"),
    ],
)
def test_wrong_values_are_told_in_one_line(values, message):
    with pytest.raises(ValueError, match=message) as error:
        BachStems(**values)
    assert "\n" not in str(error.value)
