"""How often 95 % intervals hold the true value, by simulation: all sizes and variances that the tests only sample.

python scripts/interval_coverage.py --trials 2000
"""

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import torch

from framework.evaluation.metrics.distribution import frechet_distance
from framework.evaluation.statistics import jackknife, student
from framework.evaluation.variance_components import crossed
from framework.listening.results import preference

SIZES = ((2, 8), (3, 8), (5, 5), (5, 20), (8, 8), (20, 10), (40, 30))
"""Listeners and clips."""

VARIANCES = ((0.0, 0.0), (0.1, 0.1), (0.3, 0.1), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (10.0, 10.0))
"""Of listeners and of clips, where that of the residuals is 1."""

Simulate = Callable[[np.random.Generator], tuple[bool, bool]]


def main() -> None:
    """Print a line for each setting: how often the interval covers, and how often the naive one does."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000, help="Simulations of each setting.")
    trials = parser.parse_args().trials
    print(f"{'':64}{'interval':>10}{'naive':>10}")
    for title, simulate in (*means(), *preferences(), *distances()):
        random = np.random.default_rng(0)
        covered = np.mean([simulate(random) for _ in range(trials)], axis=0)
        print(f"{title:64}{covered[0]:>10.1%}{covered[1]:>10.1%}", flush=True)


def means() -> Iterator[tuple[str, Simulate]]:
    """Yield simulations of mean ratings; the naive interval takes all ratings for independent."""
    for listeners, clips in SIZES:
        for of_listeners, of_clips in VARIANCES:
            for missing in (0.0, 0.3):

                def simulate(
                    random: np.random.Generator,
                    size: tuple[int, int] = (listeners, clips),
                    variances: tuple[float, float] = (of_listeners, of_clips),
                    missing: float = missing,
                ) -> tuple[bool, bool]:
                    table = effects(random, size, variances) + random.standard_normal(size)
                    # The same cells in all simulations, for speed.
                    table[np.random.default_rng(1).random(size) < missing] = np.nan
                    found, naive = crossed(table), student(table.ravel())
                    return bool(found.low <= 0 <= found.high), bool(naive.low <= 0 <= naive.high)

                yield (
                    f"mean, {listeners} x {clips}, variances {of_listeners}, {of_clips}, {missing:.0%} missing",
                    simulate,
                )


def preferences() -> Iterator[tuple[str, Simulate]]:
    """Yield simulations of preferences without a true one; the naive interval is the binomial's."""
    for listeners, clips in SIZES:
        for of_listeners, of_clips in ((0.0, 0.0), (1.0, 0.5), (6.0, 0.25), (0.0, 1.0)):

            def simulate(
                random: np.random.Generator,
                size: tuple[int, int] = (listeners, clips),
                variances: tuple[float, float] = (of_listeners, of_clips),
            ) -> tuple[bool, bool]:
                worth = effects(random, size, variances)
                votes = (random.random(size) < 1 / (1 + np.exp(-worth))).astype(float)
                found, naive = preference(votes)[0], preference(votes.reshape(-1, 1))[0]
                return bool(found.low <= 0.5 <= found.high), bool(naive.low <= 0.5 <= naive.high)

            yield f"preference, {listeners} x {clips}, variances of log odds {of_listeners}, {of_clips}", simulate


def distances() -> Iterator[tuple[str, Simulate]]:
    """Yield simulations of Frechet distances; the naive interval is centred on the distance itself."""
    for clips, windows, dimensions in ((8, 5, 4), (16, 5, 4), (40, 5, 4), (16, 6, 20), (40, 5, 20)):
        for shift in (0.05, 0.5):

            def simulate(
                random: np.random.Generator,
                size: tuple[int, int, int] = (clips, windows, dimensions),
                shift: float = shift,
            ) -> tuple[bool, bool]:
                clips, _, dimensions = size
                common = random.normal(0, 0.5**0.5, (2, clips, 1, dimensions))
                noise = random.normal(0, 0.5**0.5, (2, *size))
                true = torch.from_numpy(common[0] + noise[0])
                made = torch.from_numpy(shift + 1.2 * (0.8 * common[0] + 0.6 * common[1] + noise[1]))
                found = jackknife(
                    lambda chosen: frechet_distance(made[chosen].flatten(0, 1), true[chosen].flatten(0, 1)), clips
                )
                truth, reach = dimensions * (shift**2 + 0.2**2), found.high - found.mean
                # An interval that is withheld holds everything.
                return not abs(found.mean - truth) > reach, not abs(found.uncorrected - truth) > reach

            yield f"distance, {clips} clips of {windows} windows, {dimensions} dimensions, shift {shift}", simulate


def effects(random: np.random.Generator, size: tuple[int, int], variances: tuple[float, float]) -> np.ndarray:
    """Return the sum of listeners' and clips' effects `(listeners, clips)`."""
    rows, columns = (value**0.5 for value in variances)
    return random.normal(0, rows, (size[0], 1)) + random.normal(0, columns, (1, size[1]))


if __name__ == "__main__":
    main()
