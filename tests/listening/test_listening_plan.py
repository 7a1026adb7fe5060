"""The order in which listeners hear: balanced, a function of the seed, under names that tell nothing."""

import itertools
import re
from collections import Counter

import pytest

from framework.listening.plan import LISTENERS, ListeningError, forms, load_plan, make_plan, save_plan

CLIPS = [f"clip{number}" for number in range(4) for _ in range(3)]


def made(kind, columns, seed=0, anchors=()):
    made_of = {"clips": ["one", "two"], "baseline": "full", "seed": seed, "anchors": list(anchors)}
    return make_plan(kind, made_of | {"columns": dict.fromkeys(columns)}, columns, anchors)


def heard(plan):
    """Return what each listener hears, by the columns that it is."""
    trials = plan.trials
    return [
        [(trials[number].clip, [trials[number].stimuli[i].column for i in order]) for number, order in form]
        for form in plan.forms
    ]


def test_each_trial_has_each_place_and_each_stimulus_too_equally_often():
    found = forms(CLIPS, [3] * 12, seed=1)
    assert len(found) == LISTENERS
    for first in range(0, 96, 12):
        block = found[first : first + 12]
        places = Counter((place, trial) for form in block for place, (trial, _) in enumerate(form))
        assert places == Counter(itertools.product(range(12), range(12)))
    for first in range(0, 99, 3):
        for trial in range(12):
            orders = [dict(form)[trial] for form in found[first : first + 3]]
            assert Counter((p, s) for order in orders for p, s in enumerate(order)) == Counter(
                itertools.product(range(3), range(3))
            )
    assert len({tuple(trial for trial, _ in form) for form in found}) > 90


def test_a_clip_comes_again_after_all_others():
    for form in forms(CLIPS, [1] * 12, seed=2):
        clips = [CLIPS[trial] for trial, _ in form]
        assert all(len(set(clips[place : place + 4])) == 4 for place in range(9))


def test_the_order_is_a_function_of_the_seed_and_names_are_not():
    columns, anchors = ["ground truth", "full", "other"], ["3.5 kHz anchor"]
    one, same, other = (made("mushra", columns, seed, anchors) for seed in (3, 3, 4))
    assert heard(one) == heard(same)
    assert heard(one) != heard(other)
    names = [[t.id, t.reference, *t.columns()] for plan in (one, same) for t in plan.trials]
    flat = list(itertools.chain.from_iterable(names))
    assert len(set(flat)) == len(flat)
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in flat)


def test_the_order_in_which_things_are_listed_tells_nothing(tmp_path):
    first = Counter(made("ab", ["full", "other"]).trials[0].stimuli[0].column for _ in range(60))
    assert min(first["full"], first["other"]) > 10
    plan = made("mos", ["ground truth", "full"])
    save_plan(plan, tmp_path)
    assert load_plan(tmp_path) == plan


def test_each_kind_has_its_trials():
    columns = ["ground truth", "full", "a", "b", "Griffin-Lim"]
    mos, ab = made("mos", columns), made("ab", ["full", "a", "b"])
    assert sorted((t.clip, *t.columns().values()) for t in mos.trials) == sorted(
        itertools.product(["one", "two"], columns)
    )
    assert sorted((t.clip, *sorted(t.columns().values())) for t in ab.trials) == sorted(
        (clip, other, "full") for clip in ("one", "two") for other in ("a", "b")
    )
    assert not any(t.reference for t in (*mos.trials, *ab.trials))
    with pytest.raises(ListeningError, match="needs two runs"):
        made("ab", ["full"])
    with pytest.raises(ListeningError, match=r"trial: 13, BS\.1534-3 allows 12"):
        made("mushra", [f"c{n}" for n in range(13)])
