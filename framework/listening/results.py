"""What listeners' answers say: mean opinion scores, MUSHRA scores and preferences, each with how many they rest on."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from framework.evaluation.columns import TRUTH
from framework.evaluation.statistics import Difference, Interval, holm, sign_flip_p
from framework.evaluation.variance_components import crossed
from framework.listening.agreement import Level, krippendorff_alpha
from framework.listening.answers import ANSWERS, read_answers
from framework.listening.bradley_terry import Strengths, Vote, strengths
from framework.listening.means import LEVEL, mean_difference, mean_rating, rated_once
from framework.listening.plan import FILE, RANGES, Plan, listed, load_plan
from framework.listening.ranking import Pairs, rank_intervals

HIDDEN_REFERENCE = 90
SCREENED = ("mushra", "mushra_1s")
"""Kinds of tests whose listeners are screened by the hidden reference."""

SHARE = 0.15
"""Who rates the hidden reference below this in more than this part of the trials is excluded (ITU-R BS.1534-3)."""


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
    """The mean rating of a column, or how often it was preferred.

    Args:
        column: Column of the comparison, or an anchor.
        interval: Mean rating, or share of the preferences, with its 95 % interval over listeners and clips.
        listeners: How many rated it.
        spread: Standard deviation of the listeners' own means (n - 1); NaN of one listener.
        clips: Mean of each clip, over its ratings.
        differences: MOS and MUSHRA: mean difference to each other column that is a run, over the listeners and clips
            that rated both.
        p: A/B: of the share against one half, ties left out; NaN elsewhere.
        p_corrected: The same by Holm's correction over all that are held against the baseline.
        ties: How many had no preference; they are not in `interval`.
    """

    column: str
    interval: Interval
    listeners: int
    spread: float
    clips: dict[str, float]
    differences: dict[str, Difference] = field(default_factory=dict)
    p: float = math.nan
    p_corrected: float = math.nan
    ties: int = 0


@dataclass(frozen=True)
class Result:
    """What a test has shown so far.

    Args:
        plan: The test.
        figures: The figures of each column, ground truth first; of an A/B test those held against the baseline.
        listeners: How many answered anything, those excluded left out.
        finished: How many of them answered everything.
        remarks: What a reader has to know: who was excluded and what was passed over.
        ranks: The best and the worst rank that each system can have; see `rank_intervals`. Ground truth and anchors
            have none.
        alpha: Krippendorff's alpha of the listeners; NaN where no two of them rated the same.
        strengths: A/B: the strengths of the systems over all pairs.
    """

    plan: Plan
    figures: list[Figure]
    listeners: int
    finished: int
    remarks: list[str] = field(default_factory=list)
    ranks: dict[str, tuple[int, int]] = field(default_factory=dict)
    alpha: float = math.nan
    strengths: Strengths | None = None


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
    if plan.kind in SCREENED:
        ratings, told = screened(ratings)
        remarks += told
    counts = Counter(who for who, _ in stored.last if who in {rating.listener for rating in ratings})
    finished = sum(count == len(plan.trials) for count in counts.values())
    figures = preferences(plan, ratings) if plan.kind == "ab" else means(plan, ratings)
    remarks += untold(figures, ratings)
    alpha = agreement(plan, ratings)
    if plan.kind != "ab":
        return Result(plan, figures, len(counts), finished, remarks, ranks_by_means(plan, ratings), alpha)
    votes = votes_of(plan, ratings)
    found = strengths(listed(plan), votes)
    ranks = ranks_by_preferences(plan, votes, found)
    return Result(plan, figures, len(counts), finished, remarks, ranks, alpha, found)


ALPHA_LEVELS: dict[str, Level] = {"mushra": "interval", "mushra_1s": "interval"}
"""Levels of measurement of Krippendorff's alpha; categories and preferences are ordinal."""


def agreement(plan: Plan, ratings: list[Rating]) -> float:
    """Return Krippendorff's alpha of the listeners over all that was rated."""
    level = ALPHA_LEVELS.get(plan.kind, "ordinal")
    if plan.kind == "ab":
        rated = [((v.clip, v.first, v.second), v.listener, v.result) for v in votes_of(plan, ratings)]
    else:
        rated = [((r.clip, r.column), r.listener, r.value) for r in ratings]
    units = {unit: place for place, unit in enumerate(dict.fromkeys(unit for unit, _, _ in rated))}
    listeners = {who: row for row, who in enumerate(dict.fromkeys(who for _, who, _ in rated))}
    table = np.full((len(listeners), len(units)), np.nan)
    for unit, who, value in rated:
        table[listeners[who], units[unit]] = value
    return krippendorff_alpha(table, level)


def ranks_by_means(plan: Plan, ratings: list[Rating]) -> dict[str, tuple[int, int]]:
    """Return the ranks that systems can have by their mean ratings, over the listeners and clips that rated both."""
    tables = tables_of(ratings)
    systems = [c for c in listed(plan) if c in tables and c != TRUTH and c not in plan.made_of["anchors"]]
    pairs = {(a, b): mean_difference(tables[a] - tables[b]) for a, b in combinations(systems, 2)}
    return rank_intervals(systems, pairs)


def ranks_by_preferences(plan: Plan, votes: list[Vote], found: Strengths) -> dict[str, tuple[int, int]]:
    """Return the ranks that systems can have by their strengths, or by each pair alone where there are none."""
    pairs: Pairs = found.differences or {
        pair: paired_preference([v for v in votes if (v.first, v.second) == pair])
        for pair in combinations(listed(plan), 2)
    }
    return rank_intervals(listed(plan), pairs)


def paired_preference(votes: list[Vote]) -> Difference:
    """Return how much more often than half the first of two systems was preferred."""
    decided = [Rating(v.listener, v.clip, v.first, v.second, v.result) for v in votes if v.result != 0.5]
    if not decided:
        return Difference(math.nan, math.nan, math.nan, 0, math.nan)
    share, p = preference(tables_of(decided)[decided[0].column])
    return Difference(share.mean - 0.5, share.low - 0.5, share.high - 0.5, share.count, p)


def votes_of(plan: Plan, ratings: list[Rating]) -> list[Vote]:
    """Return the votes of an A/B test, the systems of each in the order of `listed`."""
    places = {column: place for place, column in enumerate(listed(plan))}
    return [Vote(r.listener, r.clip, r.column, r.other, r.value) for r in ratings if places[r.column] < places[r.other]]


def untold(figures: list[Figure], ratings: list[Rating]) -> list[str]:
    """Return what the intervals do not say: nothing of other clips after one clip, and nothing of too few listeners."""
    bare = [f.column for f in figures if f.interval.count and math.isnan(f.interval.low)]
    remarks = []
    if bare:
        remarks.append(
            f"no interval of {', '.join(bare)}: that takes two listeners or more, and either several clips that both "
            "rated or one clip alone"
        )
    if len(figures) > len(bare) and len({rating.clip for rating in ratings}) == 1:
        remarks.append("of one clip: the intervals are over listeners and say nothing of other clips")
    return remarks


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
    """Return the mean rating of each column and anchor, and its differences to the runs."""
    tables = tables_of(ratings)
    runs = [c for c in tables if c in plan.made_of["columns"] and not plan.made_of["columns"][c]["reference"]]
    found = []
    for column in listed(plan):
        own = [rating for rating in ratings if rating.column == column]
        differences = {run: mean_difference(tables[column] - tables[run]) for run in runs if run != column and own}
        found.append(figure(plan, column, own, mean_rating(tables.get(column, np.empty((0, 0)))), differences))
    return found


def tables_of(ratings: list[Rating]) -> dict[str, np.ndarray]:
    """Return the values of each column as a table `(listeners, clips)`, the same ones for all; NaN without a rating."""
    listeners = {who: row for row, who in enumerate(dict.fromkeys(rating.listener for rating in ratings))}
    clips = {clip: place for place, clip in enumerate(dict.fromkeys(rating.clip for rating in ratings))}
    tables: dict[str, np.ndarray] = {}
    for r in ratings:
        table = tables.setdefault(r.column, np.full((len(listeners), len(clips)), np.nan))
        table[listeners[r.listener], clips[r.clip]] = r.value
    return tables


def preferences(plan: Plan, ratings: list[Rating]) -> list[Figure]:
    """Return how often each run was preferred to the baseline, of the times that either was."""
    against = [r for r in ratings if r.other == plan.baseline]
    pairs = {c: [r for r in against if r.column == c] for c in listed(plan) if c != plan.baseline}
    decided = tables_of([r for r in against if r.value != 0.5])
    tests = {c: preference(decided.get(c, np.empty((0, 0)))) for c in pairs}
    corrected = dict(zip(pairs, holm([p for _, p in tests.values()]), strict=True))
    return [
        figure(plan, c, own, interval, {}, p, corrected[c], len(own) - interval.count)
        for (c, own), (interval, p) in zip(pairs.items(), tests.values(), strict=True)
    ]


def preference(table: np.ndarray) -> tuple[Interval, float]:
    """Return the share of preferences with its interval over listeners and clips, and the p of one half.

    If no listener answered twice, interval and test are the exact ones of the binomial distribution (Clopper & Pearson,
    1934). Otherwise they are those of as many independent votes as would give the variance that the share has over
    listeners and clips (`crossed`), at most as many as there are (Korn & Graubard, 1998); where all votes are the same,
    one for each listener. Listeners who each have an opinion of their own, whatever the clip, are not normally
    distributed: p is therefore at least that of a sign-flip test over listeners, and while it is 0.05 or more the
    interval includes one half. Fewer than 6 listeners cannot have p under 0.05.

    Args:
        table: 1 for each preference, 0 for each of the baseline `(listeners, clips)`, NaN for neither.
    """
    votes = table[~np.isnan(table)]
    wins, count = int(votes.sum()), len(votes)
    if rated_once(table):
        return binomial(wins, count - wins)
    share, own = wins / count, table[~np.isnan(table).all(1)]
    if len(own) < 2:
        return Interval(share, math.nan, math.nan, count), math.nan
    mean = crossed(own, LEVEL)
    votes_that_count = float(len(own))
    if mean.high > mean.low:
        normal = stats.norm.ppf(0.5 + LEVEL / 2) / (mean.high - mean.mean)
        votes_that_count = min(max(share * (1 - share) * normal**2, 1.0), count)
    low, high, p = clopper_pearson(share * votes_that_count, votes_that_count)
    p = max(p, sign_flip_p(np.nansum(2 * own - 1, axis=1)))
    if p >= 1 - LEVEL:
        low, high = min(low, 0.5), max(high, 0.5)
    return Interval(share, low, high, count), p


def binomial(wins: int, losses: int) -> tuple[Interval, float]:
    """Return the share of wins with its Clopper-Pearson interval, and the p of an exact test against one half."""
    count = wins + losses
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0), math.nan
    low, high, p = clopper_pearson(wins, count)
    return Interval(wins / count, low, high, count), p


def clopper_pearson(wins: float, count: float) -> tuple[float, float, float]:
    """Return Clopper and Pearson's interval and the two-sided p of one half; neither number has to be whole."""
    losses, tail = count - wins, (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, wins, losses + 1)) if wins > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, wins + 1, losses)) if losses > 0 else 1.0
    more = stats.beta.cdf(0.5, wins, losses + 1) if wins > 0 else 1.0
    fewer = stats.beta.sf(0.5, wins + 1, losses) if losses > 0 else 1.0
    return low, high, float(min(1.0, 2 * min(more, fewer)))


def figure(plan: Plan, column: str, ratings: list[Rating], interval: Interval, *more: Any) -> Figure:
    """Return the figure of a column, with its spread over listeners and its mean of each clip."""
    of_listeners = grouped((r.listener, r.value) for r in ratings)
    of_clips = grouped((r.clip, r.value) for r in ratings)
    own = [np.mean(values) for values in of_listeners.values()]
    spread = float(np.std(own, ddof=1)) if len(own) > 1 else math.nan
    clips = {clip: float(np.mean(of_clips[clip])) for clip in plan.clips if clip in of_clips}
    return Figure(column, interval, len(own), spread, clips, *more)


def grouped(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    """Return values by name."""
    found: dict[str, list[float]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
