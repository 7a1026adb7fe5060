"""Single notes: labelled by what is heard, and what is held out is in no other split."""

import numpy as np
import pytest
from test_soundfont import measured_pitch

from datamodules.bach.note_clips import held_out
from datamodules.notes import Notes
from datamodules.stems import BachStems
from framework.music.notes import PERCUSSION
from framework.music.soundfont import Performance, render

RATE = 16_000


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Notes:
    cache = str(tmp_path_factory.mktemp("notes"))
    notes = Notes(instruments=("flute", "drums"), velocities=(60, 110), batch_size=8, f0_hop=64, cache=cache)
    notes.prepare_data()
    return notes


def facts(data, split):
    reader = data.reader(split)
    return [reader.metadata(clip) | {"peak": float(reader.peaks(np.array([clip]))[0])} for clip in range(len(reader))]


def test_held_out_pairs_of_instrument_and_pitch_are_nowhere_else(data):
    found = [{(f["instrument"], f["pitch"]) for f in facts(data, split)} for split in ("train", "validation", "test")]
    assert len(set.union(*found)) == sum(map(len, found)) > 70
    assert all(len(pairs) >= 6 and {instrument for instrument, _ in pairs} == {0, 1} for pairs in found)
    assert sorted(f["velocity"] for f in facts(data, "test") if f["pitch"] == next(iter(found[2]))[1])[0] == 60


def test_the_labels_are_what_is_heard(data):
    compared = 0
    for batch in data.test_dataloader():
        assert batch["audio"].shape == (1, 1, 16_384)
        if batch["instrument"].item() == 0:
            wanted = 440 * 2 ** ((batch["pitch"].item() - 69) / 12)
            heard = measured_pitch(batch["audio"][0, 0, 4_000:6_000].numpy(), RATE, wanted / 1.7, wanted * 1.7)
            assert abs(heard / wanted - 1) < 0.01
            assert sorted(set(batch["f0"][0].tolist())) == [0, pytest.approx(wanted, abs=0.01)]
            compared += 1
        else:
            assert not batch["f0"].any()
    assert compared >= 6


def test_a_note_begins_at_once_and_ends_in_silence_and_harder_is_louder(data):
    reader = data.reader("train")
    loud: dict[tuple, dict[int, float]] = {}
    for clip in range(len(reader)):
        audio, told = reader.clip(clip, 10**6), reader.metadata(clip)
        loudest = np.abs(audio).max()
        onset = np.argmax(np.abs(audio) > 0.05 * loudest) / RATE
        assert onset < 0.08, told
        assert np.abs(audio[-20:]).max() < 0.12 * loudest
        loud.setdefault((told["instrument"], told["pitch"]), {})[told["velocity"]] = loudest
    pairs = [level for level in loud.values() if len(level) == 2]
    assert np.mean([level[110] > level[60] for level in pairs]) > 0.95


def test_a_batch_is_labelled(data):
    batch = next(iter(data.train_dataloader()))
    assert batch["audio"].shape == (8, 1, 16_384)
    assert not batch["start"].any(), "a segment is a whole note"
    assert batch["instrument"].max() <= 1
    assert batch["pitch"].min() >= 35


def test_the_split_of_a_pitch_does_not_depend_on_other_instruments():
    keys = list(range(40, 90))
    splits = held_out("flute", keys)
    assert splits == held_out("flute", keys[::-1])
    assert splits != held_out("oboe", keys)
    assert sorted(list(splits.values()).count(s) for s in ("train", "validation", "test")) == [5, 5, 40]


def test_drums_are_played_one_voice_at_a_time_and_apart():
    from framework.music.notes import Note

    drum = Performance([Note(0.0, 0.2, 38)], PERCUSSION, 100)
    violin = Performance([Note(0.5, 0.4, 69)], 40, 100)
    together = render([drum, violin, drum], 1.2, 48_000)
    assert np.abs(together[0] - together[2]).max() == 0
    assert np.abs(together[0]).max() > 0.01
    assert np.abs(together[1, : 48_000 // 3]).max() == 0, "the violin has nothing of the drum"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"instruments": ("drum",)}, "did you mean drums"),
        ({"velocities": (0,)}, "from 1 to 127"),
        ({"velocities": (80, 80)}, "twice"),
        ({"seconds": 0.01}, "at least 0.1"),
    ],
)
def test_wrong_values_are_told_in_one_line(values, message):
    with pytest.raises(ValueError, match=message) as error:
        Notes(**values)
    assert "\n" not in str(error.value)


def test_stems_and_notes_speak_of_the_same_instruments():
    assert Notes(instruments=("violin",)).recipe.instruments == BachStems().instruments
