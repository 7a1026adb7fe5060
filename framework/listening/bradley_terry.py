"""Strengths of systems from preferences in pairs: Bradley and Terry (1952), with ties as in Davidson (1970).

    P(i is preferred to j) : P(j is preferred to i) : P(no preference) = exp((s_i - s_j) / 2) : exp((s_j - s_i) / 2) : t

One t is shared by all pairs; it is 0 where nobody was without preference. The difference of two strengths is then the
log-odds of a preference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy import optimize, special
from scipy.sparse.csgraph import connected_components

from framework.evaluation.statistics import Difference, Interval
from framework.listening.means import mean_difference

STEPS = 100
"""Largest number of steps of Newton's method, which takes about five."""

_TOLERANCE = 1e-9
_TIE = 2


class Vote(NamedTuple):
    """A listener's preference between two systems.

    Attributes:
        listener: Name of the listener.
        clip: Name of the clip.
        first: The first system.
        second: The second system.
        result: 1 if the first is preferred, 0 if the second is preferred, 0.5 without preference.
    """

    listener: str
    clip: str
    first: str
    second: str
    result: float


@dataclass(frozen=True)
class Strengths:
    """The strengths of systems in log-odds, or the reason why they cannot be estimated.

    Args:
        intervals: Strength of each system with its 95 % interval over listeners and clips; their mean is 0.
        differences: Difference of the strengths of each pair of systems, with interval and p.
        ties: The frequency t of ties; `t / (2 + t)` is the probability of a tie between equal systems.
        remark: The reason if there are no strengths; otherwise empty.
    """

    intervals: dict[str, Interval] = field(default_factory=dict)
    differences: dict[tuple[str, str], Difference] = field(default_factory=dict)
    ties: float = 0.0
    remark: str = ""


def strengths(systems: Sequence[str], votes: Sequence[Vote]) -> Strengths:
    """Return the strengths of systems by maximum likelihood, with intervals over listeners and clips.

    The votes of a listener, or on a clip, are not independent. The influence of the votes of one listener on one clip
    on the estimate (the inverse information times their score) is a value of a table with random effects of listeners
    and clips, and the interval is that of its mean; see `framework.evaluation.variance_components`.

    Args:
        systems: Two systems or more.
        votes: All votes.

    Returns:
        The strengths. If they are not finite, there are none, only a remark: either no votes connect some systems with
        others, or some systems never lost against others (complete separation; Albert & Anderson, 1984).
    """
    places = {system: place for place, system in enumerate(systems)}
    if not votes:
        return Strengths(remark="no strengths: there are no votes")
    design = _design(votes, places)
    if remark := _infinite(design, list(systems)):
        return Strengths(remark=remark)
    estimate, scores, information = _maximum_likelihood(design)
    cells = _cells(votes)
    influence = scores @ np.linalg.pinv(information, hermitian=True)
    influence = influence[:, : len(systems)]

    def table(contrast: np.ndarray) -> np.ndarray:
        """Return the influences on a contrast of the strengths `(listeners, clips)`, around its estimate."""
        found = np.full(cells.shape, np.nan)
        listeners, clips = cells.rows[cells.of_cell], cells.columns[cells.of_cell]
        found[listeners, clips] = contrast @ estimate[: len(systems)]
        np.add.at(found, (cells.rows, cells.columns), len(cells.of_cell) * (influence @ contrast))
        return found

    centred = np.eye(len(systems)) - 1 / len(systems)
    values = {system: mean_difference(table(centred[place])) for system, place in places.items()}
    intervals = {system: Interval(v.mean, v.low, v.high, len(votes)) for system, v in values.items()}
    differences = {
        (a, b): mean_difference(table(np.eye(len(systems))[places[a]] - np.eye(len(systems))[places[b]]))
        for a, b in combinations(systems, 2)
    }
    ties = float(np.exp(estimate[-1])) if design.tied else 0.0
    return Strengths(intervals, differences, ties)


class _Design(NamedTuple):
    """Features of the three outcomes of each vote; their likelihood is a softmax.

    Attributes:
        features: `(votes, outcomes, systems + 1)`: outcomes are first, second and, if there are ties, tie.
        observed: Index of the outcome of each vote `(votes,)`.
        tied: Whether there are ties.
    """

    features: np.ndarray
    observed: np.ndarray
    tied: bool


def _design(votes: Sequence[Vote], places: dict[str, int]) -> _Design:
    tied = any(vote.result == 0.5 for vote in votes)
    features = np.zeros((len(votes), 3 if tied else 2, len(places) + 1))
    for number, vote in enumerate(votes):
        first, second = places[vote.first], places[vote.second]
        features[number, 0, [first, second]] = 0.5, -0.5
        features[number, 1, [first, second]] = -0.5, 0.5
    if tied:
        features[:, _TIE, -1] = 1.0
    outcomes = {1.0: 0, 0.0: 1, 0.5: _TIE}
    return _Design(features, np.array([outcomes[vote.result] for vote in votes]), tied)


def _infinite(design: _Design, systems: list[str]) -> str:
    """Return the reason if the maximum of the likelihood is not finite; otherwise an empty string."""
    if design.tied and (design.observed == _TIE).all():
        return "no strengths: nobody preferred any system"
    compared = (np.abs(design.features[:, 0, :-1]) > 0).astype(float)
    parts, labels = connected_components(compared.T @ compared, directed=False)
    if parts > 1:
        groups = [", ".join(s for s, label in zip(systems, labels, strict=True) if label == p) for p in range(parts)]
        return f"no strengths: nobody compared the systems of these groups: {'; '.join(groups)}"
    direction = _separation(design)
    if direction is None:
        return ""
    above = [s for s, d in zip(systems, direction, strict=True) if d > direction.max() - _TOLERANCE]
    if len(above) == len(systems):
        return "no strengths: all preferences may be chance between equal systems, with too few votes without one"
    rest = [s for s in systems if s not in above]
    were = "was" if len(above) == 1 else "were"
    return (
        f"no strengths: {', '.join(above)} {were} never voted below {', '.join(rest)}, so the difference has no finite "
        "estimate; more votes may change that"
    )


def _separation(design: _Design) -> np.ndarray | None:
    """Return a direction of strengths in which no vote's likelihood decreases; None if there is none.

    Solves a linear program that has a solution other than 0 if and only if the maximum of the likelihood is not finite.
    """
    own = np.take_along_axis(design.features, design.observed[:, None, None], 1)
    gains = np.unique((own - design.features).reshape(-1, design.features.shape[2]), axis=0)
    solved = optimize.linprog(-gains.sum(0), A_ub=-gains, b_ub=np.zeros(len(gains)), bounds=(-1, 1))
    if gains.sum(0) @ solved.x < _TOLERANCE:
        return None
    return solved.x[:-1]


def _maximum_likelihood(design: _Design) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the estimates `(systems + 1,)`, the scores `(votes, systems + 1)` at them, and the information."""
    estimate = np.zeros(design.features.shape[2])
    own = np.take_along_axis(design.features, design.observed[:, None, None], 1)[:, 0]

    def likelihood(values: np.ndarray) -> float:
        return float((own @ values - special.logsumexp(design.features @ values, axis=1)).sum())

    for _ in range(STEPS):
        scores, information = _scores(design, own, estimate)
        step = np.linalg.pinv(information, hermitian=True) @ scores.sum(0)
        if np.abs(step).max() < _TOLERANCE:
            break
        while likelihood(estimate + step) < likelihood(estimate) - _TOLERANCE:
            step = step / 2
        estimate = estimate + step
    return estimate, *_scores(design, own, estimate)


def _scores(design: _Design, own: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    probabilities = special.softmax(design.features @ estimate, axis=1)
    expected = np.einsum("vo,vop->vp", probabilities, design.features)
    squares = np.einsum("vo,vop,voq->pq", probabilities, design.features, design.features)
    return own - expected, squares - expected.T @ expected


class _Cells(NamedTuple):
    """Positions of the votes in a table of listeners and clips.

    Attributes:
        rows: Index of the listener of each vote.
        columns: Index of the clip of each vote.
        of_cell: Index of the first vote in each cell that has votes.
        shape: Numbers of listeners and clips.
    """

    rows: np.ndarray
    columns: np.ndarray
    of_cell: np.ndarray
    shape: tuple[int, int]


def _cells(votes: Sequence[Vote]) -> _Cells:
    listeners, rows = np.unique([vote.listener for vote in votes], return_inverse=True)
    clips, columns = np.unique([vote.clip for vote in votes], return_inverse=True)
    _, of_cell = np.unique(rows * len(clips) + columns, return_index=True)
    return _Cells(rows, columns, of_cell, (len(listeners), len(clips)))
