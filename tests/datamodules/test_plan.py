"""The order of an epoch: every clip as often as it should come, whoever reads it and wherever one begins."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.streaming.plan import Plan, mix, permute, uniform

shard_counts = st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(sum)


@st.composite
def plans(draw):
    return Plan(
        tuple(draw(shard_counts)),
        seed=draw(st.integers(0, 2**40)),
        batch=draw(st.integers(1, 24)),
        crops=draw(st.sampled_from([1, 1, 2, 3])),
        window=draw(st.sampled_from([0, 0, 1, 5, 30])),
    )


def epoch_of(plan, epoch, world=1):
    """Global batches of an epoch as the ranks see them together."""
    ranks = [plan.local(epoch, 0, plan.steps, rank, world) for rank in range(world)]
    return np.concatenate([r.clips for r in ranks], 1), np.concatenate([r.passes for r in ranks], 1)


@given(plans(), st.integers(0, 1000))
@settings(deadline=None, max_examples=150)
def test_every_clip_comes_as_often_as_it_should_less_the_stated_remainder(plan, epoch):
    clips, passes = epoch_of(plan, epoch)
    assert clips.shape == (plan.steps, plan.batch)
    total = sum(plan.counts)
    times = max(plan.crops, -(-plan.batch // total)) if plan.crops * total < plan.batch else plan.crops
    drawn = Counter(zip(clips.ravel().tolist(), passes.ravel().tolist(), strict=True))
    assert set(drawn.values()) == {1}, "no clip comes twice the same time"
    assert all(0 <= clip < total and 0 <= turn < times for clip, turn in drawn)
    assert len(drawn) + plan.remainder == times * total
    assert plan.remainder < plan.batch


@given(plans(), st.integers(0, 50), st.lists(st.tuples(st.integers(1, 8), st.integers(1, 5)), min_size=1, max_size=6))
@settings(deadline=None, max_examples=100)
def test_stops_and_other_worlds_do_not_change_the_order(plan, epoch, lives):
    wanted = np.concatenate([epoch_of(plan, e)[0] for e in (epoch, epoch + 1)])
    at, step, seen = epoch, 0, []
    for world, steps in [*lives, (1, 2 * plan.steps)]:
        world = max(w for w in range(1, world + 1) if plan.batch % w == 0)
        while steps and at < epoch + 2:
            last = min(step + steps, plan.steps)
            seen.append(np.concatenate([plan.local(at, step, last, rank, world).clips for rank in range(world)], 1))
            steps -= last - step
            at, step = (at, last) if last < plan.steps else (at + 1, 0)
    np.testing.assert_array_equal(np.concatenate(seen), wanted)


@given(st.integers(1, 5000), st.integers(0, 2**60))
@settings(deadline=None, max_examples=60)
def test_a_permutation_permutes(size, key):
    sizes, keys = np.array(size), np.array(key)
    assert sorted(permute(np.arange(size), sizes, keys).tolist()) == list(range(size))


def test_all_orders_are_equally_likely():
    trials = 24_000
    orders = permute(np.tile(np.arange(4), trials), np.array(4), np.repeat(mix(np.arange(trials)), 4)).reshape(-1, 4)
    counts = np.array(list(Counter(map(tuple, orders.tolist())).values()))
    assert len(counts) == 24
    # Chi-squared with 23 degrees of freedom: 49.7 is exceeded once in a thousand.
    assert ((counts - trials / 24) ** 2 / (trials / 24)).sum() < 49.7


def test_random_numbers_are_uniform_and_independent():
    numbers = uniform(3, np.arange(100_000), np.array(7))
    assert abs(numbers.mean() - 0.5) < 0.005
    assert abs(numbers.var() - 1 / 12) < 0.002
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.015
    assert abs(np.corrcoef(numbers, uniform(4, np.arange(100_000), np.array(7)))[0, 1]) < 0.015


def test_epochs_and_seeds_differ():
    orders = [epoch_of(Plan((50, 50), seed, 10), epoch)[0].ravel().tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    plan = Plan((50, 50), 0, 10)
    clips = np.arange(100)
    assert not np.any(plan.crop(0, clips, clips * 0) == plan.crop(1, clips, clips * 0))
    assert not np.any(plan.crop(0, clips, clips * 0) == plan.crop(0, clips, clips * 0 + 1))


def test_a_window_keeps_few_shards_in_use():
    plan = Plan((100,) * 50, seed=0, batch=10, window=200)
    used = [len(plan.shards(0, step, step + 20)) for step in range(0, plan.steps, 20)]
    assert max(used) <= 3
    assert len(plan.shards(0, 0, plan.steps)) == 50


def test_fewer_clips_than_a_batch_holds():
    plan = Plan((3,), seed=0, batch=16)
    assert plan.steps == 1
    assert sorted(Counter(epoch_of(plan, 0)[0].ravel().tolist()).values()) in ([5, 5, 6], [4, 6, 6])


def test_weights_of_a_mixture():
    plan = Plan((100, 40), seed=0, batch=1, crops=(0.5, 2.25))
    seen = np.concatenate([epoch_of(plan, epoch)[0].ravel() for epoch in range(40)])
    times = np.bincount(seen, minlength=140) / 40
    assert plan.steps == 140
    assert times[:100].sum() == 50
    assert times[100:].sum() == 90
    assert np.all((times[:100] > 0.1) & (times[:100] < 0.9))
    assert np.all((times[100:] >= 2) & (times[100:] < 2.7))


def test_any_place_is_known_at_once():

    plan = Plan((1000,) * 1000, seed=0, batch=16)
    plan.local(0, 0, 1)
    fastest = min(
        _timed(lambda epoch=epoch: plan.local(epoch, 50_000, 50_001), time.perf_counter) for epoch in range(20)
    )
    assert fastest < 0.01


def _timed(call, clock):
    start = clock()
    call()
    return clock() - start


def test_what_cannot_be_shared_or_drawn_is_refused():
    with pytest.raises(ValueError, match="batch of 16 cannot be shared by 3"):
        Plan((100,), 0, 16).local(0, 0, 1, 0, 3)
    with pytest.raises(ValueError, match="no clips"):
        Plan((0, 0), 0, 16)
