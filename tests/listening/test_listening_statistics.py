"""Strengths, ranks and agreement, against other computations and against the truth of made-up listeners."""

import itertools
import json
import math

import numpy as np
import pytest
from listening.made_comparisons import answer, comparison
from scipy import optimize

from framework.cli import main
from framework.evaluation.statistics import Difference
from framework.listening.agreement import krippendorff_alpha
from framework.listening.bradley_terry import Vote, strengths
from framework.listening.ranking import rank_intervals
from framework.listening.results import results_of


def votes_of(random, worth, listeners, clips, spread=(0.0, 0.0), ties=0.4, missing=0.0):
    """Return votes on all pairs of made-up listeners, who differ in what they prefer, as do clips."""
    systems = [f"s{k}" for k in range(len(worth))]
    own = random.normal(0, spread[0], (listeners, 1, len(worth))) + random.normal(0, spread[1], (1, clips, len(worth)))
    votes = []
    for listener, clip, (a, b) in itertools.product(
        range(listeners), range(clips), itertools.combinations(range(len(worth)), 2)
    ):
        d = (worth[a] - worth[b] + own[listener, clip, a] - own[listener, clip, b]) / 2
        odds = np.array([np.exp(d), np.exp(-d), ties])
        result = random.choice([1.0, 0.0, 0.5], p=odds / odds.sum())
        if random.random() >= missing:
            votes.append(Vote(f"l{listener}", f"c{clip}", systems[a], systems[b], float(result)))
    return systems, votes


@pytest.mark.parametrize("ties", [0.0, 0.6])
def test_strengths_are_those_of_a_general_optimiser(ties):
    systems, votes = votes_of(np.random.default_rng(1), [1.0, 0.3, 0.0, -1.0], 5, 6, ties=ties, missing=0.2)

    def loss(values):
        total, worth = 0.0, dict(zip(systems, [*values[:3], -sum(values[:3])], strict=True))
        tie = math.exp(values[3]) if ties else 0.0
        for vote in votes:
            a, b = math.exp(worth[vote.first] / 2), math.exp(worth[vote.second] / 2)
            # Davidson's own form: worths and the geometric mean of both.
            odds = {1.0: a**2, 0.0: b**2, 0.5: tie * a * b}
            total -= math.log(odds[vote.result] / (a**2 + b**2 + tie * a * b))
        return total

    best = optimize.minimize(loss, np.zeros(4), method="BFGS").x
    found = strengths(systems, votes)
    means = [found.intervals[system].mean for system in systems]
    assert means == pytest.approx([*best[:3], -sum(best[:3])], abs=1e-4)
    assert found.ties == pytest.approx(math.exp(best[3]) if ties else 0.0, abs=1e-4)
    assert found.differences["s0", "s3"].mean == pytest.approx(means[0] - means[3])


def test_intervals_are_about_those_of_a_bootstrap_over_listeners_and_clips():
    systems, votes = votes_of(np.random.default_rng(2), [0.8, 0.0, -0.4], 16, 14, (0.8, 0.5))
    random, cells, drawn = np.random.default_rng(3), {}, []
    for vote in votes:
        cells.setdefault((vote.listener, vote.clip), []).append(vote)
    names = [sorted({vote[place] for vote in votes}) for place in (0, 1)]
    for _ in range(60):
        chosen = [random.choice(things, len(things)) for things in names]
        again = [vote for cell in itertools.product(*chosen) for vote in cells.get(cell, [])]
        drawn.append(_mean_difference_of_logits(again))
    found = strengths(systems, votes).differences["s0", "s2"]
    width = (found.high - found.low) / 2
    assert width == pytest.approx(2 * np.std(drawn), rel=0.35)


def _mean_difference_of_logits(votes):
    """Return the log-odds of s0 over s2 from the votes on this pair alone, an estimate that is about as precise."""
    own = [vote.result for vote in votes if (vote.first, vote.second) == ("s0", "s2") and vote.result != 0.5]
    return math.log((sum(own) + 0.5) / (len(own) - sum(own) + 0.5))


@pytest.mark.parametrize(("listeners", "clips", "spread"), [(4, 4, (1.0, 0.5)), (12, 6, (0.7, 0.3))])
def test_intervals_of_strengths_and_ranks_cover_the_truth(listeners, clips, spread):
    random, covered, rank_sets, narrow = np.random.default_rng(4), [], [], []
    for _ in range(60):
        systems, votes = votes_of(random, [0.0, 0.0, 0.0, -2.5], listeners, clips, spread)
        found = strengths(systems, votes)
        if found.remark:
            continue
        equal = [found.differences[pair] for pair in itertools.combinations(systems[:3], 2)]
        covered += [d.low <= 0 <= d.high for d in equal]
        ranks = rank_intervals(systems, found.differences)
        rank_sets.append(all(ranks[s][0] == 1 and ranks[s][1] >= 3 for s in systems[:3]) and ranks["s3"][1] == 4)
        narrow.append(ranks["s3"] == (4, 4))
    assert len(rank_sets) > 50
    assert np.mean(covered) >= 0.92
    assert np.mean(rank_sets) >= 0.90
    if listeners > 10:
        assert np.mean(narrow) > 0.8, "the last is told from the others"


@pytest.mark.parametrize(
    ("votes", "words"),
    [
        ("ab1 ab1 bc1 bc0", "a was never voted below b, c"),
        ("ab1 ab.5 bc1 bc.5", "a was never voted below b, c"),
        ("ab1 ab0", "nobody compared the systems of these groups: a, b; c"),
        ("ab.5 bc.5", "nobody preferred any system"),
        ("", "there are no votes"),
    ],
)
def test_strengths_that_would_be_infinite_are_explained(votes, words):
    read = [Vote(f"l{n}", f"c{n % 2}", v[0], v[1], float(v[2:])) for n, v in enumerate(votes.split())]
    found = strengths(["a", "b", "c"], read)
    assert words in found.remark
    assert not found.intervals
    cycle = [Vote(f"l{n}", "c", *pair, 1.0) for n, pair in enumerate(("ab", "bc", "ca"))]
    assert strengths(["a", "b", "c"], cycle).intervals["a"].mean == pytest.approx(0)


def test_ranks_follow_from_the_pairs_that_differ():
    def difference(mean, p):
        return Difference(mean, math.nan, math.nan, 9, p)

    pairs = {("a", "b"): difference(1, 0.001), ("a", "c"): difference(1, 0.001), ("b", "c"): difference(-1, 0.3)}
    assert rank_intervals("abc", pairs) == {"a": (1, 1), "b": (2, 3), "c": (2, 3)}
    # 0.02 alone would do, of three pairs it does not.
    weak = {pair: difference(1, 0.02) for pair in pairs}
    assert rank_intervals("abc", weak) == {"a": (1, 3), "b": (1, 3), "c": (1, 3)}
    assert rank_intervals("ab", {("a", "b"): difference(1, math.nan)}) == {"a": (1, 2), "b": (1, 2)}


RATINGS = """
* * * * * 3 4 1 2 1 1 3 3 * 3
1 * 2 1 3 3 4 3 * * * * * * *
* * 2 1 3 4 4 * 2 1 1 3 3 * 4
"""

SCORES = {"nominal": 0.015275952694, "ordinal": 0.458111572176, "interval": 0.425296633649}
"""Of the package krippendorff 0.9.0, for the random scores below."""


@pytest.mark.parametrize(
    ("level", "expected"),
    # Of the package krippendorff 0.9.0, for its own example.
    [("nominal", 0.691358024691), ("ordinal", 0.806721419941), ("interval", 0.810844892812)],
)
def test_alpha_is_that_of_an_independent_package(level, expected):
    table = [[np.nan if cell == "*" else float(cell) for cell in line.split()] for line in RATINGS.strip().splitlines()]
    assert krippendorff_alpha(table, level) == pytest.approx(expected, abs=1e-9)
    scores = np.round(np.random.default_rng(0).normal(50, 20, (5, 12)) + 20 * np.arange(12) % 60)
    scores[0, :4] = np.nan
    assert krippendorff_alpha(scores, level) == pytest.approx(SCORES[level], abs=1e-9)


def test_alpha_of_what_cannot_disagree_is_none():
    assert math.isnan(krippendorff_alpha([[1, 2, 3]]))
    assert math.isnan(krippendorff_alpha([[2, 2], [2, 2]]))
    assert krippendorff_alpha([[1, 2, 3], [1, 2, 3]]) == 1


def test_all_pairs_are_asked_and_reported(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, worth = comparison(tmp_path), {"full": 1, "without_mpd": 0, "without_mel": -1}
    arguments = ["listen", str(folder), "--kind", "ab", "--pairs", "all", "--no_server"]
    assert main(arguments) == 0
    random = np.random.default_rng(5)
    plan = answer(folder / "listening" / "ab", 8, _preferring(worth, random))
    assert len(plan.trials) == 3 * 3
    assert main(["listen", str(folder), "--results"]) == 0
    text = capsys.readouterr().out
    assert "Bradley-Terry strengths (log-odds, mean 0; 95 % interval over listeners and clips): full" in text
    assert "possible ranks (95 % for all of them together): full 1" in text
    assert "agreement of the listeners: Krippendorff's alpha" in text
    (result,) = results_of(folder)
    assert {figure.column for figure in result.figures} == {"without_mpd", "without_mel"}
    assert all(figure.interval.count + figure.ties == 8 * 3 for figure in result.figures), "only votes on the baseline"
    values = json.loads((folder / "listening.json").read_text())["tests"]["ab"]
    assert sum(s["mean"] for s in values["bradley_terry"]["strengths"].values()) == pytest.approx(0, abs=1e-6)
    assert values["ranks"]["full"][0] == 1
    assert main(["listen", str(folder), "--kind", "mos", "--pairs", "all"]) == 2
    assert "--pairs all comes with --kind ab" in capsys.readouterr().err


def _preferring(worth, random):
    """Return the votes of listeners who mostly prefer the better one."""
    said = {}

    def rating(listener, clip, column, columns):
        first, second = sorted(columns)
        odds = 1 / (1 + np.exp(worth[second] - worth[first]))
        preferred = said.setdefault((listener, clip, first, second), first if random.random() < odds else second)
        return int(column == preferred)

    return rating
