"""Sweeps that stop when they know: rounds of simulated trainings, decided rightly and in few of them."""

from pathlib import Path

import numpy as np
import pytest

from framework.sweeps.record import PlannedRun
from framework.sweeps.sweep import Sweep, SweepError
from framework.sweeps.until import rounds, with_seeds

RECORDINGS = 8


class Simulated:
    """Trainings whose metric is drawn: a method's mean, a training's and a recording's effect, and noise."""

    def __init__(self, means, seeds, random):
        self.means, self.random, self.trained = means, random, {}
        self.effects = {label: random.normal(0, 0.05, RECORDINGS) for label in means}
        self.runs = [
            PlannedRun(f"{label} seed={seed}", "none", (), Path(f"{label}-{seed}"), f"{label}-{seed}", label, seed)
            for label in means
            for seed in range(seeds)
        ]

    def train(self, runs):
        for run in runs:
            if run.signature not in self.trained:
                effects = self.effects[run.family] + self.random.normal(0, 0.1)
                self.trained[run.signature] = self.means[run.family] + effects + self.random.normal(0, 0.1, RECORDINGS)
        return True

    def differences(self, runs):
        values = {}
        for run in runs:
            values.setdefault(run.family, {})[run.seed] = self.trained[run.signature]
        baseline = values.pop(runs[0].family)
        return {label: np.stack([own[seed] - baseline[seed] for seed in own]) for label, own in values.items()}

    def rounds(self, **options):
        return list(rounds(self.runs, "error", "lower", self.train, self.differences, **options))


def test_only_open_comparisons_get_more_seeds():
    simulated = Simulated({"full": 1.0, "worse": 3.0, "same": 1.0, "better": -2.0}, 7, np.random.default_rng(0))
    found = simulated.rounds()
    answers = {label: one.answer for label, one in found[-1].verdicts.items()}
    assert answers == {"worse": "worse", "same": "open", "better": "better"}
    assert found[-1].open == ["same"]
    seeds = found[-1].seeds
    assert seeds["full"] == seeds["same"] == 7
    assert max(seeds["worse"], seeds["better"]) < 7
    assert len(simulated.trained) == sum(seeds.values())


def test_a_difference_too_small_to_matter_ends_a_comparison():
    simulated = Simulated({"full": 1.0, "same": 1.0}, 20, np.random.default_rng(1))
    last = simulated.rounds(smallest=0.5)[-1]
    assert last.verdicts["same"].answer == "equal"
    assert last.seeds["same"] < 20


def test_false_decisions_are_rare_over_null_sweeps():
    random = np.random.default_rng(2)
    sweeps = 100
    wrong = 0
    for _ in range(sweeps):
        last = Simulated(dict.fromkeys(("full", "one", "other"), 1.0), 6, random).rounds()[-1]
        wrong += any(one.answer != "open" for one in last.verdicts.values())
    # 5 % and three standard errors of 100 sweeps.
    assert wrong / sweeps <= 0.05 + 3 * 0.0218


def test_what_cannot_be_decided_is_refused():
    random = np.random.default_rng(3)
    with pytest.raises(SweepError, match="a single run cannot be compared"):
        Simulated({"full": 1.0}, 3, random).rounds()
    with pytest.raises(SweepError, match="2 seeds or more"):
        Simulated({"full": 1.0, "other": 1.0}, 1, random).rounds()
    same = Simulated({"full": 1.0, "other": 1.0}, 2, random)
    same.train(same.runs)
    same.trained = dict.fromkeys(same.trained, np.ones(RECORDINGS))
    with pytest.raises(SweepError, match="the same in every training"):
        same.rounds()


def test_seeds_of_a_sweep():
    sweep = Sweep([int], seeds=2) + Sweep([float], seeds=[5, 6, 7])
    assert [part.seeds for part in with_seeds(sweep, 3).parts] == [3, [5, 6, 7]]
    with pytest.raises(SweepError, match="lists 3 seeds, and 4 may be needed"):
        with_seeds(sweep, 4)
