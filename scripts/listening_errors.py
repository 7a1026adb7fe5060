"""How often the intervals of strengths and ranks of an A/B test hold the truth, by simulation.

python scripts/listening_errors.py --trials 2000
"""

import argparse
import itertools

import numpy as np

from framework.listening.bradley_terry import Vote, strengths
from framework.listening.ranking import rank_intervals

SIZES = ((4, 4), (8, 8), (20, 6))
"""Listeners and clips."""

SPREADS = ((0.0, 0.0), (0.7, 0.3), (1.5, 0.7))
"""Standard deviations, over listeners and over clips, of the strengths of systems (log-odds)."""

SYSTEMS = ("a", "b", "c", "d")
TIES = 0.4
"""Frequency of votes without preference; see `framework.listening.bradley_terry`."""


def main() -> None:
    """Print a line for each setting: how often intervals of differences and all ranks hold equal systems."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=400, help="Simulations of each setting.")
    trials = parser.parse_args().trials
    print("| listeners | clips | std listeners | std clips | interval covers | all ranks right | no strengths |")
    print("| ---: " * 7 + "|")
    for (listeners, clips), (of_listeners, of_clips) in itertools.product(SIZES, SPREADS):
        random = np.random.default_rng(0)
        found = [strengths(SYSTEMS, votes(random, listeners, clips, of_listeners, of_clips)) for _ in range(trials)]
        known = [result for result in found if not result.remark]
        covered = np.mean([[d.low <= 0 <= d.high for d in result.differences.values()] for result in known])
        ranks = [rank_intervals(SYSTEMS, result.differences) for result in known]
        right = np.mean([all(ends == (1, len(SYSTEMS)) for ends in of_all.values()) for of_all in ranks])
        cells = (listeners, clips, of_listeners, of_clips, f"{covered:.1%}", f"{right:.1%}", trials - len(known))
        print(f"| {' | '.join(map(str, cells))} |".replace("%", " %"), flush=True)


def votes(random: np.random.Generator, listeners: int, clips: int, of_listeners: float, of_clips: float) -> list[Vote]:
    """Return votes on all pairs of systems that are equally good on average."""
    places = range(len(SYSTEMS))
    own = random.normal(0, of_listeners, (listeners, 1, 4)) + random.normal(0, of_clips, (1, clips, 4))
    found = []
    for listener, clip, (a, b) in itertools.product(range(listeners), range(clips), itertools.combinations(places, 2)):
        half = (own[listener, clip, a] - own[listener, clip, b]) / 2
        odds = np.array([np.exp(half), np.exp(-half), TIES])
        result = float(random.choice([1.0, 0.0, 0.5], p=odds / odds.sum()))
        found.append(Vote(f"listener {listener}", f"clip {clip}", SYSTEMS[a], SYSTEMS[b], result))
    return found


if __name__ == "__main__":
    main()
