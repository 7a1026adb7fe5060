"""What MuseGAN's paper measures, on music small enough to count by hand."""

import math

import numpy as np
import pytest

from framework.evaluation.metrics import symbolic


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
