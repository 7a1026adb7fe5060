"""Which ranks a system can have, given tests of all pairs of systems."""

import math
from collections.abc import Sequence

from framework.evaluation.statistics import Difference, holm

ALPHA = 0.05

Pairs = dict[tuple[str, str], Difference]
"""The difference of the first system of a pair from the second; each pair once."""


def rank_intervals(systems: Sequence[str], pairs: Pairs, alpha: float = ALPHA) -> dict[str, tuple[int, int]]:
    """Return the best and the worst rank that each system can have, 1 being the best.

    A system is behind those that are significantly better and before those that are significantly worse, p being
    corrected by Holm's method over all pairs. All intervals hold together with a probability of 1 - alpha (Mogstad,
    Romano, Shaikh & Wilhelm, 2024, section 3). A pair without a p, such as one that nobody compared, orders nothing.
    Systems that are equally good share all ranks from the first to the last of them.
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
