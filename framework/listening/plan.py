"""What a listening test consists of: trials of stimuli under opaque names, and the order in which each listener hears.

The plan says which stimulus is which column of the comparison. It stays beside the pages and is never served.
"""

import json
import random
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

from framework.errors import InvalidValueError, OstinatoError
from framework.evaluation.columns import TRUTH
from framework.json_text import check_kinds, parse_json
from framework.writing import write_atomically

VERSION = 1
FILE = "plan.json"

LISTENERS = 100
"""Maximum number of listeners of a test; each gets their own order."""

MOST_STIMULI = 12
"""Stimuli of a MUSHRA trial at most, the hidden reference with them (ITU-R BS.1534-3)."""

RANGES = {"mushra": (0, 100), "mushra_1s": (0, 100), "mos": (1, 5), "dcr": (1, 5), "ab": (0, 1)}
"""Lowest and highest rating of each kind of test; in A/B, 1 is the stimulus preferred."""

REFERENCED = ("mushra", "mushra_1s", "dcr")
"""Kinds of tests whose trials have an open reference."""

SINGLE = ("mos", "dcr", "mushra_1s")
"""Kinds of tests whose trials have one sound to rate."""

Form = list[tuple[int, list[int]]]
_COLUMN = ({"runs": [str], "steps": [int], "reference": str}, None)
KINDS: dict[str, Any] = {
    **{"version": int, "id": str, "kind": str},
    "made_of": {
        **{"clips": [str], "columns": {str: _COLUMN}, "anchors": [str], "baseline": str},
        **{"comparison?": str, "seed?": int, "sample_rate?": int, "sounds?": str, "match_levels?": bool, "pairs?": str},
    },
    "trials": [{"id": str, "clip": str, "reference": str, "stimuli": [{"id": str, "column": str}], "anchor?": str}],
    "forms": [[[(int, [int])]]],
}
"""Kinds of the entries of a plan."""


class ListeningError(OstinatoError, ValueError):
    """A listening test cannot be made, served or read; the message says why and what to do, in one line."""


@dataclass(frozen=True)
class Stimulus:
    """A sound to rate.

    Args:
        id: Opaque name.
        column: Column of the comparison, or an anchor.
    """

    id: str
    column: str


@dataclass(frozen=True)
class Trial:
    """What is rated at once.

    Args:
        id: Opaque name.
        clip: Name of the held-out clip.
        stimuli: One for MOS, two for A/B, all for MUSHRA; sorted by their names, so that their order tells nothing.
        reference: Opaque name of the open reference; empty without one.
        anchor: Opaque name of the open low anchor; empty without one.
    """

    id: str
    clip: str
    stimuli: tuple[Stimulus, ...]
    reference: str = ""
    anchor: str = ""

    def columns(self) -> dict[str, str]:
        """Return the column of each stimulus by its opaque name."""
        return {stimulus.id: stimulus.column for stimulus in self.stimuli}


@dataclass(frozen=True)
class Plan:
    """A listening test.

    Args:
        id: Opaque name of the test: answers to another one are not taken.
        kind: one of `RANGES`.
        made_of: What the test was made of; one made of the same is the same test.
        trials: Sorted by their names.
        forms: For each listener, trials and the stimuli within each in the order heard, by their numbers.
    """

    id: str
    kind: str
    made_of: dict[str, Any]
    trials: tuple[Trial, ...]
    forms: tuple[Form, ...]

    @property
    def baseline(self) -> str:
        """The column that the others of an A/B test are held against."""
        return self.made_of["baseline"]

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in the comparison's order."""
        return self.made_of["clips"]


def make_plan(kind: str, made_of: dict[str, Any], columns: Sequence[str], anchors: Sequence[str] = ()) -> Plan:
    """Return a new test of a comparison's columns, with opaque names that no seed gives away.

    Args:
        kind: one of `RANGES`.
        made_of: `clips`, `baseline`, `seed` and whatever else decides what is heard; `pairs` is `all` if each run of
            an A/B test is compared with each other one, not with the baseline only.
        columns: Columns to rate, ground truth among them; for A/B the runs alone.
        anchors: Names of the low-passed references of a MUSHRA trial.

    Raises:
        ListeningError: there is too little or too much to rate.
    """
    baseline = made_of["baseline"]
    sets: list[tuple[str, ...]]
    if kind == "ab":
        sets = [(baseline, other) for other in columns if other != baseline]
        if made_of.get("pairs") == "all":
            sets = list(combinations(columns, 2))
    elif kind in SINGLE:
        sets = [(column,) for column in (*columns, *anchors)]
    else:
        sets = [(*columns, *anchors)]
    if not sets:
        raise ListeningError("an A/B test needs two runs: compare several, or give --kind mos")
    if len(sets[0]) > MOST_STIMULI:
        raise ListeningError(
            f"a MUSHRA trial of {len(sets[0])} stimuli is more than the {MOST_STIMULI} that BS.1534-3 allows: "
            "compare fewer runs"
        )
    trials = [
        trial(clip, names, kind in REFERENCED, kind == "mushra_1s" and bool(anchors))
        for clip, names in product(made_of["clips"], sets)
    ]
    orders = forms([t.clip for t in trials], [len(t.stimuli) for t in trials], made_of["seed"])
    return relabelled(secrets.token_hex(6), kind, made_of, trials, orders)


def trial(clip: str, columns: Sequence[str], referenced: bool, anchored: bool = False) -> Trial:
    """Return a trial, its stimuli in the order of their columns."""
    stimuli = tuple(Stimulus(secrets.token_hex(6), column) for column in columns)
    reference, anchor = (secrets.token_hex(6) if present else "" for present in (referenced, anchored))
    return Trial(secrets.token_hex(6), clip, stimuli, reference, anchor)


def forms(clips: Sequence[str], sizes: Sequence[int], seed: int, count: int = LISTENERS) -> list[Form]:
    """Return an order of trials, and of the stimuli within each, for every listener: a function of the seed alone.

    A listener hears the trials in rounds in which each clip comes once, so that a clip comes again as late as can be.
    Over any block of as many listeners as there are trials, counted from the first, each trial has stood at each place
    exactly once (a Latin square, its rows shuffled); over any block of as many as a trial has stimuli, each stimulus
    at each place.

    Args:
        clips: The clip of each trial; all come equally often.
        sizes: How many stimuli each trial has.
        seed: The seed of the randomisation.
        count: Number of listeners.
    """
    draw = random.Random(seed)
    by_clip: dict[str, list[int]] = {}
    for number, clip in enumerate(clips):
        by_clip.setdefault(clip, []).append(number)
    rounds = len(clips) // len(by_clip)
    orders: list[list[int]] = []
    while len(orders) < count:
        table = shuffled([shuffled(of_clip, draw) for of_clip in by_clip.values()], draw)
        for turn, shift in shuffled(product(range(rounds), range(len(table))), draw):
            places = product(range(rounds), range(len(table)))
            orders.append([table[(j + shift) % len(table)][(i + turn) % rounds] for i, j in places])
    within = [rotations(size, count, draw) for size in sizes]
    return [[(number, within[number][form]) for number in orders[form]] for form in range(count)]


def rotations(size: int, count: int, draw: random.Random) -> list[list[int]]:
    """Return orders of so many things; in each block of as many orders each thing stands at each place once."""
    found: list[list[int]] = []
    while len(found) < count:
        base = shuffled(range(size), draw)
        found += [base[shift:] + base[:shift] for shift in shuffled(range(size), draw)]
    return found[:count]


def shuffled(things: Any, draw: random.Random) -> list[Any]:
    """Return things in random order."""
    found = list(things)
    draw.shuffle(found)
    return found


def relabelled(test: str, kind: str, made_of: dict[str, Any], trials: Sequence[Trial], orders: Sequence[Form]) -> Plan:
    """Return the plan with trials and stimuli sorted by their opaque names, the orders meaning the same ones still."""
    stimuli = [sorted(range(len(t.stimuli)), key=lambda i, t=t: t.stimuli[i].id) for t in trials]
    places = sorted(range(len(trials)), key=lambda i: trials[i].id)
    hidden = tuple(replace(trials[i], stimuli=tuple(trials[i].stimuli[j] for j in stimuli[i])) for i in places)
    forms = tuple([(places.index(i), [stimuli[i].index(j) for j in heard]) for i, heard in order] for order in orders)
    return Plan(test, kind, made_of, hidden, forms)


def save_plan(plan: Plan, folder: Path) -> None:
    """Write `plan.json` into the test's folder."""
    write_atomically(folder / FILE, json.dumps({"version": VERSION, **asdict(plan)}) + "\n")


def _check_plan(plan: Plan) -> None:
    """Refuse numbers of trials and stimuli that there are not, and columns that are not those of the comparison."""
    known = {TRUTH, *plan.made_of["columns"], *plan.made_of["anchors"]}
    if plan.kind not in RANGES:
        raise InvalidValueError(f"kind is {plan.kind!r:.40}")
    if plan.kind == "ab" and any(len(trial.stimuli) != 2 for trial in plan.trials):
        raise InvalidValueError("a trial has not two stimuli")
    if plan.kind in SINGLE and any(len(trial.stimuli) != 1 for trial in plan.trials):
        raise InvalidValueError("a trial has not one stimulus")
    if strange := {s.column for trial in plan.trials for s in trial.stimuli} - known:
        raise InvalidValueError(f"{min(strange)!r:.40} is no column")
    if not plan.forms:
        raise InvalidValueError("it has no forms")
    for number, heard in (order for form in plan.forms for order in form):
        if not 0 <= number < len(plan.trials) or sorted(heard) != list(range(len(plan.trials[number].stimuli))):
            raise InvalidValueError(f"a form has the trial {number} with the stimuli {heard!r:.40}")


def load_plan(folder: Path) -> Plan:
    """Read a test's plan from its folder.

    Raises:
        ListeningError: there is none, it is cut short or of another version.
    """
    path = folder / FILE
    try:
        values = parse_json(path.read_text())
        check_kinds(values, KINDS)
        if values.pop("version") != VERSION:
            raise InvalidValueError("another version")
        trials = tuple(
            Trial(t["id"], t["clip"], tuple(Stimulus(**s) for s in t["stimuli"]), t["reference"], t.get("anchor", ""))
            for t in values.pop("trials")
        )
        orders = tuple([(number, heard) for number, heard in form] for form in values.pop("forms"))
        plan = Plan(**values, trials=trials, forms=orders)
        _check_plan(plan)
        return plan
    except FileNotFoundError:
        raise ListeningError(f"{folder} holds no listening test: `ostinato listen` makes one") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ListeningError(f"{path} is no plan of a listening test ({error}): remove {folder}") from None


def listed(plan: Plan) -> list[str]:
    """Return the columns and anchors of a test, ground truth first."""
    names = {stimulus.column: None for trial in plan.trials for stimulus in trial.stimuli}
    order = [TRUTH, *plan.made_of["columns"], *plan.made_of["anchors"]]
    return sorted(names, key=order.index)
