"""Statistics of listeners' answers: mean opinion scores, MUSHRA scores and preferences."""

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
"""Listeners who rate the hidden reference below 90 in more than 15 % of the trials are excluded (ITU-R BS.1534-3)."""


@dataclass(frozen=True)
class Rating:
    """One rating.

    Args:
        listener: Name of the listener.
        clip: Name of the clip.
        column: Column of the comparison, or an anchor.
        other: The column that it is compared with in an A/B test.
        value: Rating on the test's scale; in A/B, 1 for the preferred column, 0 for the other, 0.5 without preference.
    """

    listener: str
    clip: str
    column: str
    other: str
    value: float


@dataclass(frozen=True)
class Figure:
    """The mean rating of a column, or its share of preferences.

    Args:
        column: Column of the comparison, or an anchor.
        interval: Mean rating, or share of the preferences, with its 95 % interval over listeners and clips.
        listeners: Number of listeners who rated it.
        spread: Standard deviation of the listeners' means (n - 1); NaN for one listener.
        clips: Mean rating of each clip.
        differences: For MOS and MUSHRA, the mean difference to each other run, over the listeners and clips with
            ratings of both.
        p: For A/B, p of the share against one half, without ties; otherwise NaN.
        p_corrected: p after Holm's correction over all columns that are compared with the baseline.
        ties: Number of answers without preference, which are not in `interval`.
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
    """The results of a test so far.

    Args:
        plan: The test.
        figures: The figures of each column, ground truth first; for A/B, of the columns compared with the baseline.
        listeners: Number of listeners with any answer, without excluded ones.
        finished: Number of listeners who have answered all trials.
        remarks: Notes for the reader, such as excluded listeners and damaged lines.
        ranks: Best and worst possible rank of each system (see `rank_intervals`), without ground truth and anchors.
        alpha: Krippendorff's alpha of the listeners; NaN if no two of them rated the same stimulus.
        strengths: For A/B, the strengths of the systems over all pairs.
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
    """Return the results of a test so far."""
    plan = load_plan(folder)
    stored = read_answers(plan, folder / ANSWERS)
    ratings = list(ratings_of(plan, stored.last))
    remarks = [f"line {n} of {folder / ANSWERS} is damaged and was ignored" for n in stored.damaged]
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
    """Return Krippendorff's alpha of the listeners over all stimuli."""
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
    """Return rank intervals by mean ratings; a pair is compared over the listeners and clips with ratings of both."""
    tables = tables_of(ratings)
    systems = [c for c in listed(plan) if c in tables and c != TRUTH and c not in plan.made_of["anchors"]]
    pairs = {(a, b): mean_difference(tables[a] - tables[b]) for a, b in combinations(systems, 2)}
    return rank_intervals(systems, pairs)


def ranks_by_preferences(plan: Plan, votes: list[Vote], found: Strengths) -> dict[str, tuple[int, int]]:
    """Return rank intervals by Bradley-Terry strengths, or from separate tests of each pair if there are none."""
    pairs: Pairs = found.differences or {
        pair: paired_preference([v for v in votes if (v.first, v.second) == pair])
        for pair in combinations(listed(plan), 2)
    }
    return rank_intervals(listed(plan), pairs)


def paired_preference(votes: list[Vote]) -> Difference:
    """Return the share of preferences for the first of two systems, minus one half."""
    decided = [Rating(v.listener, v.clip, v.first, v.second, v.result) for v in votes if v.result != 0.5]
    if not decided:
        return Difference(math.nan, math.nan, math.nan, 0, math.nan)
    share, p = preference(tables_of(decided)[decided[0].column])
    return Difference(share.mean - 0.5, share.low - 0.5, share.high - 0.5, share.count, p)


def votes_of(plan: Plan, ratings: list[Rating]) -> list[Vote]:
    """Return the votes of an A/B test, with the systems of each vote in the order of `listed`."""
    places = {column: place for place, column in enumerate(listed(plan))}
    return [Vote(r.listener, r.clip, r.column, r.other, r.value) for r in ratings if places[r.column] < places[r.other]]


def untold(figures: list[Figure], ratings: list[Rating]) -> list[str]:
    """Return remarks on the limits of the intervals: a single clip, or too few listeners."""
    bare = [f.column for f in figures if f.interval.count and math.isnan(f.interval.low)]
    remarks = []
    if bare:
        remarks.append(
            f"no interval of {', '.join(bare)}: it needs two listeners or more, and either one clip or several clips "
            "that both have rated"
        )
    if len(figures) > len(bare) and len({rating.clip for rating in ratings}) == 1:
        remarks.append("a single clip was rated: intervals are over listeners and do not generalise to other clips")
    return remarks


def screened(ratings: list[Rating]) -> tuple[list[Rating], list[str]]:
    """Remove listeners who do not recognise the hidden reference; return the other ratings and a remark.

    This is BS.1534-3's post-screening by the hidden reference. Its rule on the mid anchor is not applied, because it
    assumes clips with content above 7 kHz.
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
    """Return whether a listener rates the hidden reference too low in too many trials."""
    low = [rating.value < HIDDEN_REFERENCE for rating in ratings if rating.column == TRUTH]
    return sum(low) > SHARE * len(low)


def ratings_of(plan: Plan, last: dict[tuple[str, str], dict[str, int]]) -> Iterable[Rating]:
    """Yield every rating with its column."""
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
    """Return the mean rating of each column and anchor, and its differences from the runs."""
    tables = tables_of(ratings)
    runs = [c for c in tables if c in plan.made_of["columns"] and not plan.made_of["columns"][c]["reference"]]
    found = []
    for column in listed(plan):
        own = [rating for rating in ratings if rating.column == column]
        differences = {run: mean_difference(tables[column] - tables[run]) for run in runs if run != column and own}
        found.append(figure(plan, column, own, mean_rating(tables.get(column, np.empty((0, 0)))), differences))
    return found


def tables_of(ratings: list[Rating]) -> dict[str, np.ndarray]:
    """Return a table `(listeners, clips)` for each column, with the same rows and columns; NaN without a rating."""
    listeners = {who: row for row, who in enumerate(dict.fromkeys(rating.listener for rating in ratings))}
    clips = {clip: place for place, clip in enumerate(dict.fromkeys(rating.clip for rating in ratings))}
    tables: dict[str, np.ndarray] = {}
    for r in ratings:
        table = tables.setdefault(r.column, np.full((len(listeners), len(clips)), np.nan))
        table[listeners[r.listener], clips[r.clip]] = r.value
    return tables


def preferences(plan: Plan, ratings: list[Rating]) -> list[Figure]:
    """Return the share of preferences of each run over the baseline, without ties."""
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
    """Return the share of preferences with its interval over listeners and clips, and p against one half.

    If every listener answered once, interval and test are exact for the binomial distribution (Clopper & Pearson,
    1934). Otherwise they use the effective number of independent votes, which has the variance of the share over
    listeners and clips (`crossed`) and is at most the number of votes (Korn & Graubard, 1998); if all votes are equal,
    it is the number of listeners. The preferences of listeners need not be normally distributed, so p is at least that
    of a sign-flip test over listeners, and if it is 0.05 or more, the interval includes one half. With fewer than 6
    listeners, p cannot be below 0.05.

    Args:
        table: `(listeners, clips)`: 1 if the run is preferred, 0 if the baseline is, NaN for neither.
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
    """Return the share of wins with its Clopper-Pearson interval, and p of an exact test against one half."""
    count = wins + losses
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0), math.nan
    low, high, p = clopper_pearson(wins, count)
    return Interval(wins / count, low, high, count), p


def clopper_pearson(wins: float, count: float) -> tuple[float, float, float]:
    """Return Clopper and Pearson's interval and the two-sided p against one half; the counts may be fractions."""
    losses, tail = count - wins, (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, wins, losses + 1)) if wins > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, wins + 1, losses)) if losses > 0 else 1.0
    more = stats.beta.cdf(0.5, wins, losses + 1) if wins > 0 else 1.0
    fewer = stats.beta.sf(0.5, wins + 1, losses) if losses > 0 else 1.0
    return low, high, float(min(1.0, 2 * min(more, fewer)))


def figure(plan: Plan, column: str, ratings: list[Rating], interval: Interval, *more: Any) -> Figure:
    """Return the figure of a column, with its spread over listeners and its mean for each clip."""
    of_listeners = grouped((r.listener, r.value) for r in ratings)
    of_clips = grouped((r.clip, r.value) for r in ratings)
    own = [np.mean(values) for values in of_listeners.values()]
    spread = float(np.std(own, ddof=1)) if len(own) > 1 else math.nan
    clips = {clip: float(np.mean(of_clips[clip])) for clip in plan.clips if clip in of_clips}
    return Figure(column, interval, len(own), spread, clips, *more)


def grouped(pairs: Iterable[tuple[str, float]]) -> dict[str, list[float]]:
    """Group values by name."""
    found: dict[str, list[float]] = {}
    for name, value in pairs:
        found.setdefault(name, []).append(value)
    return found
