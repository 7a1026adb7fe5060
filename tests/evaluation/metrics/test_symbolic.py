"""What MuseGAN's paper measures, on music small enough to count by hand."""

import math

import numpy as np
import pytest

from framework.music import symbolic


@pytest.fixture
def bars():
    """Two bars of 16 steps and 24 pitches: in the first a long C, its octave and a short E, over the bar line a G."""
    roll = np.zeros((2, 16, 24), bool)
    roll[0, 0:4, [0, 12]] = True
    roll[0, 8:10, 4] = True
    roll[0, 15, 7] = roll[1, 0:2, 7] = True
    return roll


def test_bars_and_pitch_classes_are_counted(bars):
    assert symbolic.empty_bars(bars) == 0
    assert symbolic.empty_bars(np.stack([bars[0], np.zeros_like(bars[0])])) == 0.5
    assert symbolic.used_pitch_classes(bars) == (3 + 1) / 2
    assert symbolic.used_pitch_classes(np.zeros_like(bars)) == 0


def test_notes_qualify_by_their_steps_also_over_a_bar_line(bars):
    assert symbolic.qualified_notes(bars) == 3 / 4
    assert symbolic.qualified_notes(bars, 2) == 1
    assert symbolic.qualified_notes(bars, 4) == 2 / 4
    assert math.isnan(symbolic.qualified_notes(np.zeros_like(bars)))


@pytest.mark.parametrize(
    ("beat_steps", "mask"),
    [(24, [1, 0.1, 0, 0, 0, 0.1]), (12, [1, 0.1, 0.1]), (16, [1, 0.1, 0, 0.1]), (8, [1, 0.1]), (4, [1, 0.1])],
)
def test_drum_patterns_are_the_official_masks(beat_steps, mask):
    steps = 4 * beat_steps
    share = []
    for step in range(steps):
        roll = np.zeros((1, steps, 3), bool)
        roll[0, step, 1] = True
        share.append(symbolic.drum_pattern(roll, beat_steps))
    assert share == pytest.approx(np.tile(mask, steps // len(mask)).tolist())


def test_tonal_distance_is_that_of_the_circles():
    def chord(*pitches):
        roll = np.zeros((1, 4, 12), bool)
        roll[0, :, list(pitches)] = True
        return roll

    assert symbolic.tonal_distance(chord(0), chord(0), 4) == 0
    # A fifth: a step of 30 degrees on the circle of fifths, 90 on that of minor thirds, 120 on that of major thirds.
    by_hand = math.sqrt(sum((2 * r * math.sin(math.radians(d) / 2)) ** 2 for r, d in ((1, 30), (1, 90), (0.5, 120))))
    assert symbolic.tonal_distance(chord(0), chord(7), 4) == pytest.approx(by_hand)
    assert symbolic.tonal_distance(chord(0), chord(7), 4) < symbolic.tonal_distance(chord(0), chord(6), 4)
    assert math.isnan(symbolic.tonal_distance(chord(0), chord(), 4))


class TestOfficialCode:
    """Where `src/musegan/metrics.py` of salu133445/musegan differs, as the module's documentation says.

    Each official value is computed here by its own short formula.
    """

    @pytest.fixture
    def rolls(self):
        """Four bars of 96 steps and 84 pitches in which notes overlap, the last one empty."""
        random = np.random.default_rng(0)
        roll = np.zeros((4, 96, 84), bool)
        for bar in range(3):
            for onset in range(0, 96, 12):
                roll[bar, onset : onset + random.integers(1, 12), random.choice(84, 3, replace=False)] = True
        return roll

    def test_empty_bars_are_there_the_bars_with_notes(self, rolls):
        official = (rolls > 0.5).any((1, 2)).mean()
        assert symbolic.empty_bars(rolls) == 1 - official == 0.25

    def test_pitch_classes_are_there_neighbouring_pitches_in_every_step(self):
        octaves = np.zeros((1, 96, 84), bool)
        octaves[0, :48, ::12] = True
        official_chroma = octaves.reshape(1, 96, 12, 7).sum(-1)
        assert np.count_nonzero(official_chroma, 2).sum(1).mean() == 7 * 48
        assert np.count_nonzero(official_chroma.sum(1)) == 7, "as in v1 and v2"
        assert symbolic.used_pitch_classes(octaves) == 1, "C in seven octaves"
        assert symbolic.chroma(octaves)[0, 0].tolist() == [7] + [0] * 11

    def test_every_note_qualifies_there(self, rolls):
        shortest = rolls & False
        shortest[:, ::4, 10] = True
        for roll, expected in ((shortest, 0.0), (rolls, None)):
            changes = np.diff(np.pad(roll.reshape(-1, 84).astype(int), ((1, 1), (0, 0))), axis=0).ravel()
            onsets, ends = np.flatnonzero(changes > 0), np.flatnonzero(changes < 0)
            assert (ends - onsets >= 2).sum() / np.count_nonzero(onsets) >= 0.95
            found = symbolic.qualified_notes(roll)
            assert found == expected if expected is not None else found < 0.9

    def test_notes_of_two_steps_qualify_in_v1_and_v2(self, bars):
        steps = np.pad(bars.astype(int), ((0, 0), (1, 1), (0, 0)))
        shares = []
        for bar in np.diff(steps, axis=1):
            lengths = np.flatnonzero(bar.T.ravel() < 0) - np.flatnonzero(bar.T.ravel() > 0)
            shares.append((lengths >= 2).mean())
        # The G over the bar line is there a note of one step and one of two.
        assert np.mean(shares) == (3 / 4 + 1) / 2
        assert symbolic.qualified_notes(bars, 2) == 1

    def test_drums_are_the_same_but_for_silence(self, rolls):
        mask = np.tile([1, 0.1, 0, 0, 0, 0.1], 16)
        official = (mask[None, :] * rolls.sum(2)).sum() / np.count_nonzero(rolls)
        assert symbolic.drum_pattern(rolls, 24) == pytest.approx(official)
        assert math.isnan(symbolic.drum_pattern(rolls[3:], 24)), "0 there"

    def test_a_silent_beat_leaves_there_no_tonal_distance(self, rolls):
        one, other = rolls.copy(), np.roll(rolls, 3, axis=2)
        other[0, :24] = False
        with np.errstate(invalid="ignore"):
            beats = other.reshape(-1, 24, 12, 7).sum((1, 3)) / other.reshape(-1, 24, 84).sum((1, 2))[:, None]
        assert np.isnan(beats.mean())
        found = [
            symbolic.tonal_distance(
                one[bar : bar + 1, start : start + 24], other[bar : bar + 1, start : start + 24], 24
            )
            for bar in range(4)
            for start in range(0, 96, 24)
        ]
        assert np.isnan(found).sum() == 1 + 4
        assert symbolic.tonal_distance(one, other, 24) == pytest.approx(np.nanmean(found))
