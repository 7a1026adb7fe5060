import numpy as np
import pytest

from framework.music.notes import Note
from framework.music.soundfont import INSTRUMENTS, NATIVE_RATE, Performance, render, soundfont_path

RATE = 22_050
# The lowest and highest note of each voice in the chorales.
RANGES = ((57, 81), (53, 74), (48, 69), (36, 64))


def hertz(midi: float) -> float:
    return 440 * 2 ** ((midi - 69) / 12)


def measured_pitch(audio: np.ndarray, rate: int, low: float = 50, high: float = 1200) -> float:
    """Measure f0 in Hz by YIN (de Cheveigne and Kawahara, 2002, steps 2 to 5), by its definition."""
    lags = np.arange(1, int(rate / low) + 2)
    frame = audio[: len(audio) - lags[-1]].astype(np.float64)
    difference = np.array([np.sum((frame - audio[lag : lag + len(frame)]) ** 2) for lag in lags])
    normalised = difference * lags / np.maximum(np.cumsum(difference), 1e-12)
    first = int(rate / high)
    # A strict threshold, for an oboe has little of its fundamental: at half its period only odd harmonics disagree.
    best = first + int(np.argmax(normalised[first:-1] < normalised[first:-1].min() + 0.02))
    while normalised[best + 1] < normalised[best]:
        best += 1
    before, at, after = normalised[best - 1 : best + 2]
    return rate / (lags[best] + (before - after) / 2 / (before - 2 * at + after))


@pytest.mark.parametrize("family", INSTRUMENTS)
def test_every_instrument_sounds_the_pitch_of_the_score(family):
    keys = [np.unique(np.linspace(low, high, 7).round().astype(int)) for low, high in RANGES]
    scores = [[Note(0.8 * i, 0.7, int(midi)) for i, midi in enumerate(voice)] for voice in keys]
    voices = [Performance(notes, program, 90) for notes, program in zip(scores, INSTRUMENTS[family], strict=True)]
    stems = render(voices, 7.0, NATIVE_RATE)
    for stem, notes in zip(stems, scores, strict=True):
        for note in notes:
            sustained = stem[int((note.onset + 0.25) * NATIVE_RATE) : int((note.onset + 0.35) * NATIVE_RATE)]
            cents = 1200 * np.log2(measured_pitch(sustained, NATIVE_RATE) / hertz(note.midi))
            assert abs(cents) < 35, (family, note.midi)


def test_programs_without_a_true_pitch_are_not_offered():
    assert not {19, 65} & {program for programs in INSTRUMENTS.values() for program in programs}


@pytest.mark.parametrize("family", INSTRUMENTS)
def test_voices_played_together_are_the_voices_played_alone(family):
    first, second = INSTRUMENTS[family][0], INSTRUMENTS[family][2]
    high = Performance([Note(0.2 * i, 0.2, 60 + i) for i in range(5)], first, 105)
    low = Performance([Note(0.3 * i, 0.3, 50 + i) for i in range(4)], second, 105)
    together = render([high, low], 2.0, NATIVE_RATE)
    alone = np.concatenate([render([high], 2.0, NATIVE_RATE), render([low], 2.0, NATIVE_RATE)])
    np.testing.assert_allclose(together, alone, atol=2 / 32768)
    assert together.any(1).all()
    assert np.abs(together).max() < 0.9


def test_notes_start_in_time_to_the_end_of_a_long_piece():
    notes = [Note(0.917 * i, 0.1, 64) for i in range(30)]
    (stem,) = render([Performance(notes, 6, 100)], 28.0, NATIVE_RATE)
    for note in notes:
        start = max(0, round(note.onset * NATIVE_RATE) - 480)
        sounding = np.abs(stem[start : start + 4800])
        onset = start + int(np.argmax(sounding > 0.1 * sounding.max()))
        assert 0 <= onset / NATIVE_RATE - note.onset < 0.004


def test_a_repeated_note_is_struck_again():
    (stem,) = render([Performance([Note(0.4 * i, 0.4, 64) for i in range(5)], 6, 100)], 3.0, NATIVE_RATE)
    for start in (np.arange(1, 5) * 0.4 * NATIVE_RATE).astype(int):
        assert np.abs(stem[start : start + 2400]).max() > 1.5 * np.abs(stem[start - 2400 : start]).max()


def test_the_end_rings_out():
    (stem,) = render([Performance([Note(0.0, 0.5, 60)], 60, 100)], 2.0, RATE)
    assert stem.shape == (2 * RATE,)
    assert np.abs(stem[RATE // 2 : RATE]).max() > 0.01
    assert np.abs(stem[-RATE // 100 :]).max() < 1e-3


def test_the_soundfont_is_the_one_of_pretty_midi():
    assert soundfont_path().parent.name == "pretty_midi"
