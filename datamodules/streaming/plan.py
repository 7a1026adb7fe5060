"""Which clips are in which batch: a pure function of (data set, seed, epoch, step).

Ranks and workers only take their part of a batch, so the same run on another number of them sees the same batches, and
the whole state of a training run's data is the position (epoch, step).
"""

import functools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from framework.errors import InvalidValueError

# What a random number is drawn for, so that no two purposes share one.
SHARDS, ORDER, CROP, GAIN, REPLACEMENT, SUBSET, VALIDATION = range(7)
_ROUNDS = 6


def mix(*parts: int | np.ndarray) -> np.ndarray:
    """Hash integers (broadcast) to 64 bits: a chain of splitmix64 finalisers (Steele et al., 2014, section 5)."""
    state = np.zeros(1, np.uint64)
    with np.errstate(over="ignore"):
        for part in parts:
            state = state + np.uint64(0x9E3779B97F4A7C15) ^ np.asarray(part).astype(np.uint64)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return state


def uniform(*parts: int | np.ndarray) -> np.ndarray:
    """Hash integers to numbers uniform in [0, 1)."""
    return (mix(*parts) >> np.uint64(11)).astype(np.float64) / (1 << 53)


def permute(values: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Map each value in [0, size) by the random permutation of [0, size) that its key names.

    A Feistel network on the next even number of bits, applied again until the value lies in the range (Black and
    Rogaway, 2002, sections 3 and 4): any place of a shuffled epoch is known at once, without shuffling the rest.
    """
    bits = np.maximum(3, np.ceil(np.log2(np.maximum(sizes, 2)) / 2 + 1e-9)).astype(np.uint64)
    bits, keys = np.broadcast_to(bits, values.shape), np.broadcast_to(keys, values.shape).astype(np.uint64)
    limit = np.broadcast_to(sizes, values.shape).astype(np.uint64)
    values = values.astype(np.uint64)
    todo = np.arange(values.size)
    while todo.size:
        values[todo] = _feistel(values[todo], bits[todo], keys[todo])
        todo = todo[values[todo] >= limit[todo]]
    return values.astype(np.int64)


def _feistel(values: np.ndarray, bits: np.ndarray, keys: np.ndarray) -> np.ndarray:
    mask = (np.uint64(1) << bits) - np.uint64(1)
    left, right = values >> bits, values & mask
    for number in range(_ROUNDS):
        left, right = right, left ^ (mix(keys ^ (right | np.uint64(number << 56))) & mask)
    return left << bits | right


class Draws(NamedTuple):
    """Clips by number and, for clips that come more than once in an epoch, which time it is."""

    clips: np.ndarray
    passes: np.ndarray


@dataclass(frozen=True)
class Plan:
    """The order of an epoch.

    Every clip comes `crops` times an epoch, except for the remainder that fills no batch: `remainder` draws, others in
    each epoch. Where there are fewer draws than a batch holds, every clip comes as often as is needed to fill one.

    Args:
        counts: Clips in each shard.
        seed: Another seed is another order.
        batch: Clips in a global batch, over all ranks.
        crops: How often a clip comes in an epoch; for each shard, if the data sets they belong to have different
            weights. A fraction takes part of the clips, others in each epoch.
        window: Draws among which order is random, while shards come in random order one after another; 0 shuffles all.
            A small window keeps few shards in use at a time.

    Raises:
        ValueError: there is no clip.
    """

    counts: tuple[int, ...]
    seed: int
    batch: int
    crops: float | tuple[float, ...] = 1
    window: int = 0

    def __post_init__(self) -> None:
        if sum(self.counts) == 0:
            raise InvalidValueError("the data set has no clips")

    @functools.cached_property
    def draws(self) -> np.ndarray:
        """Draws from each shard in an epoch; rounded so that their sum is exact."""
        crops = np.broadcast_to(np.asarray(self.crops, np.float64), len(self.counts))
        edges = np.floor(np.cumsum(crops * self.counts) + 1e-6).astype(np.int64)
        if edges[-1] < self.batch:
            return np.asarray(self.counts) * math.ceil(self.batch / sum(self.counts))
        return np.diff(edges, prepend=0)

    @property
    def steps(self) -> int:
        """Batches in an epoch, on every rank."""
        return int(self.draws.sum()) // self.batch

    @property
    def remainder(self) -> int:
        """Draws of an epoch that fill no batch."""
        return int(self.draws.sum()) % self.batch

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Number of the first clip of each shard."""
        return np.cumsum((0, *self.counts[:-1]))

    def local(self, epoch: int, first: int, last: int, rank: int = 0, world: int = 1) -> Draws:
        """Return what a rank reads in steps `first` to `last` (exclusive): arrays (steps, batch / world).

        Raises:
            ValueError: the ranks cannot share the batch equally.
        """
        if self.batch % world:
            raise InvalidValueError(
                f"a batch of {self.batch} cannot be shared by {world} devices: take a multiple of {world}"
            )
        share = self.batch // world
        places = np.arange(first, last)[:, None] * self.batch + rank * share + np.arange(share)
        clips, passes = self._at(epoch, places.ravel())
        return Draws(clips.reshape(places.shape), passes.reshape(places.shape))

    def shards(self, epoch: int, first: int, last: int) -> list[int]:
        """Return the shards that steps `first` to `last` (exclusive) read, in the order of their first use."""
        clips = self._at(epoch, np.arange(first * self.batch, last * self.batch)).clips
        return list(dict.fromkeys(self.shard_of(clips).tolist()))

    def shard_of(self, clips: np.ndarray) -> np.ndarray:
        """Return the shard that each clip is in."""
        return np.searchsorted(np.cumsum(self.counts), clips, "right")

    def _at(self, epoch: int, places: np.ndarray) -> Draws:
        """Return what comes at places of an epoch's order."""
        order, edges = self._shard_order(epoch)
        total = int(edges[-1])
        window = self.window or total
        block = places // window
        sizes = np.minimum(window, total - block * window)
        shuffled = block * window + permute(places % window, sizes, mix(self.seed, epoch, ORDER, block))
        position = np.searchsorted(edges, shuffled, "right") - 1
        shard, inside = order[position], shuffled - edges[position]
        count = np.asarray(self.counts)[shard]
        passes, clip = inside // count, inside % count
        if np.any(self.draws % np.maximum(self.counts, 1)):
            # Only part of a shard's clips come (once more): which ones is to change with the epoch.
            clip = permute(clip, count, mix(self.seed, epoch, SUBSET, shard))
        return Draws(self.starts[shard] + clip, passes)

    def _shard_order(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an epoch's order of the shards, and the place at which each begins before windows are shuffled."""
        order = np.arange(len(self.counts))
        if self.window:
            order = np.argsort(mix(self.seed, epoch, SHARDS, order), kind="stable")
        return order, np.cumsum((0, *self.draws[order]))

    def replacement(self, epoch: int, clip: int, passed: int, attempt: int) -> int:
        """Return the clip that stands in for one that cannot be used."""
        total = sum(self.counts)
        return int(mix(self.seed, epoch, REPLACEMENT, clip, passed, attempt)[0] % np.uint64(total))

    def crop(self, epoch: int, clips: np.ndarray, passes: np.ndarray) -> np.ndarray:
        """Return where in each clip the segment lies, as a fraction in [0, 1) of what is possible."""
        return uniform(self.seed, epoch, CROP, clips, passes)

    def gain(self, epoch: int, clips: np.ndarray, passes: np.ndarray) -> np.ndarray:
        """Return a number in [0, 1) for each clip's random gain."""
        return uniform(self.seed, epoch, GAIN, clips, passes)
