"""The table of docs/speedrun.md: rows are lengths of training, intervals are over seeds."""

import itertools
import sys
from pathlib import Path

import pytest

from framework.sweeps.find import find_sweep
from framework.sweeps.record import PlannedRun

sys.path.append(str(Path(__file__).parents[1] / "scripts"))
import speedrun


def run(experiment, steps, seed):
    return PlannedRun(f"{experiment} {seed}", experiment, (), Path(), f"{seed}", "", seed, max_steps=steps)


def summary(*distances, state="finished", minutes=2.0):
    clips = {f"c{n}": {"system": {"log_mel_error": d / 10, "stft_distance": d}} for n, d in enumerate(distances)}
    return {"state": state, "minutes": minutes, "clips": clips}


def test_rows_are_means_over_clips_with_intervals_over_seeds():
    table = speedrun.table(
        [
            (run("small", 500, 0), summary(1.0, 3.0, minutes=1.0)),
            (run("small", 1_000, 0), summary(1.0)),
            (run("small", 500, 1), summary(3.0, 3.0, minutes=2.0)),
            (run("small", 500, 2), summary(9.0, state="stopped")),
            (run("other", 500, 0), None),
        ]
    )
    *_, first, second = table.splitlines()
    # Means of 2 and 3: t = 12.7062 with one degree of freedom, times a standard error of 0.5.
    assert first == "| `small` | 500 | 1.5 | 2 | 0.250 ± 0.635 | 2.500 ± 6.353 |"
    assert second == "| `small` | 1,000 | 2.0 | 1 | 0.100 | 1.000 |"
    assert len(table.splitlines()) == 4


def test_the_sweep_trains_every_small_vocoder_for_doubled_lengths_with_three_seeds():
    _, sweep, question = find_sweep("vocoder_speedrun")
    lengths = {}
    for choice in sweep.choices():
        lengths.setdefault(choice.experiment, []).append((choice.values["trainer.max_steps"], choice.seed))
    assert question
    assert len(lengths) >= 3
    for runs in lengths.values():
        steps = sorted({length for length, _ in runs})
        assert len(runs) == 3 * len(steps) == 15
        assert all(later / earlier == pytest.approx(2, rel=0.1) for earlier, later in itertools.pairwise(steps))
