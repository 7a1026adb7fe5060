"""What listeners' answers say: mean opinion scores, MUSHRA scores and preferences, each with how many they rest on."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from framework.evaluation.columns import TRUTH
from framework.evaluation.statistics import Interval, holm, student
from framework.listening.answers import ANSWERS, read_answers
from framework.listening.plan import FILE, RANGES, Plan, listed, load_plan

HIDDEN_REFERENCE = 90
SHARE = 0.15
"""Who rates the hidden reference below this in more than this part of the trials is excluded (ITU-R BS.1534-3)."""

LEVEL = 0.95


@dataclass(frozen=True)
class Rating:
    """One rating.

    Args:
        listener: Who gave it.
        clip: Name of the clip.
        column: Column of the comparison, or an anchor.
        other: The column that it is preferred to, or not, in an A/B test.
        value: On the test's scale; in A/B 1 of the one preferred, 0 of the other, 0.5 of both without preference.
    """

    listener: str
    clip: str
    column: str
    other: str
    value: float


@dataclass(frozen=True)
class Figure:
    """What was made of the ratings of a column.

    Args:
        column: Column of the comparison, or an anchor.
        interval: Mean with its 95 % interval over ratings: Student's t, of preferences Clopper's and Pearson's.
        listeners: How many rated it.
        spread: Standard deviation of the listeners' own means (n - 1); NaN of one listener.
        clips: Mean of each clip, over its ratings.
        p: Of an exact two-sided binomial test of preferences, ties left out; NaN elsewhere.
        p_corrected: The same by Holm's correction over all that are held against the baseline.
        ties: How many had no preference; they are not in `interval`.
    """

    column: str
    interval: Interval
    listeners: int
    spread: float
    clips: dict[str, float]
    p: float = math.nan
    p_corrected: float = math.nan
    ties: int = 0


@dataclass(frozen=True)
class Result:
    """What a test has shown so far.

    Args:
        plan: The test.
        figures: Of each column, ground truth first; of an A/B test those held against the baseline.
        listeners: How many answered anything, those excluded left out.
        finished: How many of them answered everything.
        remarks: What a reader has to know: who was excluded and what was passed over.
    """

    plan: Plan
    figures: list[Figure]
    listeners: int
    finished: int
    remarks: list[str] = field(default_factory=list)


def results_of(comparison: Path) -> list[Result]:
    """Return the results of every kind of test that a comparison has."""
    folders = [comparison / "listening" / kind for kind in RANGES]
    return [result_of(folder) for folder in folders if (folder / FILE).exists()]


def result_of(folder: Path) -> Result:
    """Return what a test's answers say so far."""
    plan = load_plan(folder)
    stored = read_answers(plan, folder / ANSWERS)
    ratings = list(ratings_of(plan, stored.last))
    remarks = [f"line {n} of {folder / ANSWERS} is cut short or no answer: passed over" for n in stored.damaged]
    if plan.kind == "mushra":
        ratings, told = screened(ratings)
        remarks += told
    counts = Counter(who for who, _ in stored.last if who in {rating.listener for rating in ratings})
    finished = sum(count == len(plan.trials) for count in counts.values())
    figures = preferences(plan, ratings) if plan.kind == "ab" else means(plan, ratings)
    return Result(plan, figures, len(counts), finished, remarks)


def screened(ratings: list[Rating]) -> tuple[list[Rating], list[str]]:
    """Return the ratings of listeners who hear the hidden reference, and a line on those who do not.

    Of BS.1534-3's post-screening this is the rule on the hidden reference; that on the mid anchor is left to whoever
    knows whether the clips have anything above 7 kHz.
    """
    listeners = list(dict.fromkeys(rating.listener for rating in ratings))
    unreliable = [who for who in listeners if misses_reference([r for r in ratings if r.listener == who])]
    if not unreliable:
        return ratings, []
    told = (
        f"{len(unreliable)} of {len(listeners)} listeners excluded, who rated the hidden reference below "
        f"{HIDDEN_REFERENCE} in more than {SHARE:.0%} of their trials (BS.1534-3, post-screening): "
        f"{', '.join(sorted(who[:8] for who in unreliable))}"
    )
    return [rating for rating in ratings if rating.listener not in unreliable], [told]


def misses_reference(ratings: list[Rating]) -> bool:
    """Say whether a listener rates the hidden reference too low too often."""
    low = [rating.value < HIDDEN_REFERENCE for rating in ratings if rating.column == TRUTH]
    return sum(low) > SHARE * len(low)


def ratings_of(plan: Plan, last: dict[tuple[str, str], dict[str, int]]) -> Iterable[Rating]:
    """Yield every rating with the column that it is of."""
    trials = {trial.id: trial for trial in plan.trials}
    for (listener, name), given in last.items():
        trial = trials[name]
        columns = trial.columns()
        for stimulus, value in given.items():
            column, score = columns[stimulus], float(value)
            other = next((c for s, c in columns.items() if s != stimulus), "") if plan.kind == "ab" else ""
            if plan.kind == "ab" and not any(given.values()):
                score = 0.5
            yield Rating(listener, trial.clip, column, other, score)


def means(plan: Plan, ratings: list[Rating]) -> list[Figure]:
    """Return the mean rating of each column and anchor."""
    found = []
    for column in listed(plan):
        own = [rating for rating in ratings if rating.column == column]
        found.append(figure(plan, column, own, student([r.value for r in own], LEVEL)))
    return found


def preferences(plan: Plan, ratings: list[Rating]) -> list[Figure]:
    """Return how often each run was preferred to the baseline, of the times that either was.

    The test is exact and two-sided; it takes every preference for a draw of its own, which the ratings of one listener
    are only if clips, rather than listeners, decide.
    """
    pairs = {c: [r for r in ratings if r.column == c] for c in listed(plan) if c != plan.baseline}
    wins = {c: sum(r.value == 1 for r in own) for c, own in pairs.items()}
    losses = {c: sum(r.value == 0 for r in own) for c, own in pairs.items()}
    tests = {c: binomial(wins[c], losses[c]) for c in pairs}
    corrected = dict(zip(pairs, holm([p for _, p in tests.values()]), strict=True))
    return [
        figure(plan, c, own, tests[c][0], tests[c][1], corrected[c], len(own) - wins[c] - losses[c])
        for c, own in pairs.items()
    ]


def binomial(wins: int, losses: int) -> tuple[Interval, float]:
    """Return the share of wins with its Clopper-Pearson interval, and the p of an exact test against one half."""
    count = wins + losses
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0), math.nan
    test = stats.binomtest(wins, count)
    ends = test.proportion_ci(LEVEL, "exact")
    return Interval(wins / count, float(ends.low), float(ends.high), count), float(test.pvalue)


def figure(plan: Plan, column: str, ratings: list[Rating], interval: Interval, *test: Any) -> Figure:
    """Return the figure of a column, with its spread over listeners and its mean of each clip."""
    of_listeners = grouped((r.listener, r.value) for r in ratings)
    of_clips = grouped((r.clip, r.value) for r in ratings)
    own = [np.mean(values) for values in of_listeners.values()]
    spread = float(np.std(own, ddof=1)) if len(own) > 1 else math.nan
    clips = {clip: float(np.mean(of_clips[clip])) for clip in plan.clips if clip in of_clips}
    return Figure(column, interval, len(own), spread, clips, *test)


def grouped(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    """Return values by name."""
    found: dict[str, list[float]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
