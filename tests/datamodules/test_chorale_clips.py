import io

import numpy as np
import pytest
import soundfile
from test_soundfont import measured_pitch

from datamodules.bach.clips import FRAME_RATE, Clip, Recipe, clips, f0
from datamodules.bach.corpus import Chorale, load_chorales
from framework.music.notes import VOICES, Note

RATE = 22_050
FULL_SCALE = 32_768


@pytest.fixture(scope="module")
def chorale() -> Chorale:
    return min(load_chorales(), key=lambda c: c.quarters)


@pytest.fixture(scope="module")
def played(chorale) -> list[Clip]:
    return clips(chorale, "train", Recipe(RATE, ("woodwinds",), 5.0))


def stems_of(clip: Clip) -> np.ndarray:
    return np.stack([soundfile.read(io.BytesIO(clip.members[f"{voice}.flac"]), dtype="int16")[0] for voice in VOICES])


def whole(played: list[Clip]) -> np.ndarray:
    return np.concatenate([stems_of(clip) for clip in played], axis=1)


def test_the_mix_is_the_exact_sum_of_its_stems(played):
    for clip in played:
        assert (clip.audio * FULL_SCALE == stems_of(clip).astype(int).sum(0)).all()
    assert np.abs(np.concatenate([clip.audio for clip in played])).max() == pytest.approx(0.95, abs=1e-3)


def test_clips_follow_each_other_without_gap(chorale, played):
    assert all(clip.metadata["seconds"] <= 5.0 for clip in played)
    ends = np.cumsum([len(clip.audio) for clip in played])
    assert [clip.metadata["start"] * RATE for clip in played] == pytest.approx([0, *ends[:-1]])
    assert ends[-1] == pytest.approx((chorale.quarters * 60 / played[0].metadata["tempo"] + 1) * RATE, abs=1)
    (uncut,) = clips(chorale, "train", Recipe(RATE, ("woodwinds",), 1000.0))
    assert (uncut.audio == np.concatenate([clip.audio for clip in played])).all()


def test_notes_of_the_clips_are_the_notes_of_the_score(chorale, played):
    quarter = 60 / played[0].metadata["tempo"]
    for number, voice in enumerate(chorale.voices):
        pieces = [
            (clip.metadata["start"], row) for clip in played for row in clip.members["notes.npy"] if row[0] == number
        ]
        assert sum(row[2] for _, row in pieces) == pytest.approx(sum(n.duration for n in voice) * quarter, abs=1e-3)
        begun = {round(start + float(row[1]), 3): int(row[3]) for start, row in pieces}
        assert all(begun[round(note.onset * quarter, 3)] == note.midi for note in voice)
    for clip in played:
        rows = clip.members["notes.npy"]
        assert rows[:, 1].min() >= 0
        assert (rows[:, 1] + rows[:, 2]).max() <= clip.metadata["seconds"] + 1e-4


def test_f0_is_the_pitch_that_is_heard(played):
    compared = 0
    for clip in played:
        label = clip.members["f0.npy"]
        assert label.dtype == np.float32
        assert label.shape == (4, int(np.ceil(clip.metadata["seconds"] * FRAME_RATE)))
        for stem, frames in zip(stems_of(clip), label, strict=True):
            for frame in range(10, len(frames) - 10, 7):
                if frames[frame] and np.ptp(frames[frame - 10 : frame + 10]) == 0:
                    heard = stem[(frame - 8) * RATE // FRAME_RATE : (frame + 8) * RATE // FRAME_RATE]
                    measured = measured_pitch(heard, RATE, frames[frame] / 1.7, frames[frame] * 1.7)
                    assert abs(1200 * np.log2(measured / frames[frame])) < 35, (clip.key, frame)
                    compared += 1
    assert compared > 100


def test_f0_of_known_notes():
    pitch = f0([[Note(0.0, 0.5, 69), Note(0.75, 0.25, 57)]], 1.2)
    expected = np.zeros(120)
    expected[:50], expected[75:100] = 440, 220
    np.testing.assert_array_equal(pitch[0], expected)


def test_the_facts_are_told(chorale, played):
    facts = played[0].metadata
    assert facts["piece"] == chorale.id
    assert facts["instruments"] == "woodwinds"
    assert facts["programs"] == [73, 68, 71, 70]
    assert facts["key_signature"] == chorale.key
    assert facts["frame_rate"] == 100
    assert "GPL" in facts["licence"]
    assert len({clip.key for clip in played}) == len(played)
    assert not any("." in clip.key for clip in played)  # a dot would end the key in a tar of clips


def test_the_same_again_is_the_same_and_families_differ(chorale, played):
    again = clips(chorale, "train", Recipe(RATE, ("woodwinds",), 5.0))
    for one, other in zip(played, again, strict=True):
        assert (one.audio == other.audio).all()
        assert one.metadata == other.metadata
        assert all(np.array_equal(one.members[name], other.members[name]) for name in one.members)
    assert not np.array_equal(played[0].audio, clips(chorale, "train", Recipe(RATE, ("piano",), 5.0))[0].audio)
