"""How often `compare` marks a difference that there is not, and one that there is, by simulation.

python scripts/comparison_errors.py --trials 2000
"""

import argparse
import itertools

import numpy as np

from framework.evaluation.inference import method_difference, network_difference

RECORDINGS, CLIPS = 8, 2
"""Recordings, and clips of each."""

SEEDS = (2, 3, 5, 10)
OF_SEEDS = (0.0, 0.5, 1.0, 4.0)
"""Variance over seeds, where that over the clips of a recording is 1."""

WITHIN = (0.0, 0.3, 0.8)
"""Correlation of the clips of a recording."""

SHIFTS = (0.0, 1.0, 2.0)
"""True difference, in standard deviations of a clip."""


def main() -> None:
    """Print a line for each setting: how often networks and methods are marked, and how often intervals cover."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000, help="Simulations of each setting.")
    trials = parser.parse_args().trials
    print("difference  seeds  variance of seeds  correlation   by clips  networks    method  interval covers")
    for shift, seeds, of_seeds, within in itertools.product(SHIFTS, SEEDS, OF_SEEDS, WITHIN):
        random = np.random.default_rng(0)
        found = np.mean([simulate(random, shift, seeds, of_seeds, within) for _ in range(trials)], axis=0)
        by_clips, networks, method, covered = found
        print(
            f"{shift:>10}  {seeds:>5}  {of_seeds:>17}  {within:>11}  {by_clips:>9.1%} {networks:>9.1%} {method:>9.1%}"
            f"  {covered:>15.1%}",
            flush=True,
        )


def simulate(
    random: np.random.Generator, shift: float, seeds: int, of_seeds: float, within: float
) -> tuple[bool, bool, bool, bool]:
    """Compare two methods once: whether clips, networks and methods are marked, and the method's interval covers.

    The mark by clips is that of a test which takes all clips for independent.
    """
    recordings = [f"r{number // CLIPS}" for number in range(RECORDINGS * CLIPS)]
    # Differences between two methods have the doubled variance of each.
    ours, baseline = (run(random, seeds, of_seeds, within) for _ in range(2))
    ours = {seed: values + shift for seed, values in ours.items()}
    means = [np.mean(list(runs.values()), axis=0).tolist() for runs in (ours, baseline)]
    alone = [str(number) for number in range(len(recordings))]
    method = method_difference(
        {seed: values.tolist() for seed, values in ours.items()},
        {seed: values.tolist() for seed, values in baseline.items()},
        recordings,
    )
    assert method is not None
    return (
        network_difference(*means, alone).p < 0.05,
        network_difference(*means, recordings).p < 0.05,
        method.p < 0.05,
        method.low <= shift <= method.high,
    )


def run(random: np.random.Generator, seeds: int, of_seeds: float, within: float) -> dict[int, np.ndarray]:
    """Return the values of the clips by seed: how well a method does on a recording is its own, whatever the seed."""
    of_recordings = np.repeat(random.normal(0, np.sqrt(within), RECORDINGS), CLIPS)
    return {
        seed: random.normal(0, np.sqrt(of_seeds))
        + of_recordings
        + random.normal(0, np.sqrt(1 - within), RECORDINGS * CLIPS)
        for seed in range(seeds)
    }


if __name__ == "__main__":
    main()
