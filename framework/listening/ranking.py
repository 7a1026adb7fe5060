"""Confidence intervals of the ranks of systems, from tests of all pairs."""

import math
from collections.abc import Sequence

from framework.evaluation.statistics import Difference, holm

ALPHA = 0.05

Pairs = dict[tuple[str, str], Difference]
"""Difference of the first system of each pair from the second; each pair occurs once."""


def rank_intervals(systems: Sequence[str], pairs: Pairs, alpha: float = ALPHA) -> dict[str, tuple[int, int]]:
    """Return the best and the worst possible rank of each system; 1 is the best rank.

    A system ranks below all systems that are significantly better and above all that are significantly worse, with p
    corrected by Holm's method over all pairs. All intervals hold simultaneously with a probability of 1 - alpha
    (Mogstad, Romano, Shaikh & Wilhelm, 2024, section 3). A pair without a p, such as one that nobody compared, is
    ignored. Equally good systems share all their ranks.
    """
    better: dict[str, int] = dict.fromkeys(systems, 0)
    worse: dict[str, int] = dict.fromkeys(systems, 0)
    for ((first, second), difference), p in zip(
        pairs.items(), holm([difference.p for difference in pairs.values()]), strict=True
    ):
        if not math.isnan(p) and p < alpha and difference.mean:
            winner, loser = (first, second) if difference.mean > 0 else (second, first)
            better[loser] += 1
            worse[winner] += 1
    return {system: (1 + better[system], len(systems) - worse[system]) for system in systems}
