"""The plan of a listening test: trials of stimuli under opaque names, and the order of presentation of each listener.

The plan maps each stimulus to its column of the comparison. It is stored outside of the pages and is never served.
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
"""Maximum number of stimuli of a MUSHRA trial, including the hidden reference (ITU-R BS.1534-3)."""

RANGES = {"mushra": (0, 100), "mushra_1s": (0, 100), "mos": (1, 5), "dcr": (1, 5), "ab": (0, 1)}
"""Lowest and highest rating of each kind of test; in A/B, the preferred stimulus is rated 1."""

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
"""Types of the entries of a plan."""


class ListeningError(OstinatoError, ValueError):
    """A listening test cannot be created, served or read."""


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
    """Stimuli that are rated together.

    Args:
        id: Opaque name.
        clip: Name of the held-out clip.
        stimuli: One for MOS, two for A/B, all for MUSHRA; sorted by their opaque names.
        reference: Opaque name of the open reference; empty if there is none.
        anchor: Opaque name of the open low anchor; empty if there is none.
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
        id: Opaque name of the test; answers with another name are refused.
        kind: One of `RANGES`.
        made_of: Everything that determines the test; equal values mean the same test.
        trials: The trials, sorted by their opaque names.
        forms: For each listener, the indices of the trials and of their stimuli in the order of presentation.
    """

    id: str
    kind: str
    made_of: dict[str, Any]
    trials: tuple[Trial, ...]
    forms: tuple[Form, ...]

    @property
    def baseline(self) -> str:
        """The column that the other columns of an A/B test are compared with."""
        return self.made_of["baseline"]

    @property
    def clips(self) -> list[str]:
        """Names of the clips, in the comparison's order."""
        return self.made_of["clips"]


def make_plan(kind: str, made_of: dict[str, Any], columns: Sequence[str], anchors: Sequence[str] = ()) -> Plan:
    """Create a test of a comparison's columns, with opaque names that cannot be derived from the seed.

    Args:
        kind: One of `RANGES`.
        made_of: `clips`, `baseline`, `seed` and all other settings; `pairs` is `all` if an A/B test compares all pairs
            of runs, not only each run with the baseline.
        columns: Columns to rate, including the ground truth; for A/B only the runs.
        anchors: Names of the low-passed references of a MUSHRA trial.

    Raises:
        ListeningError: there are too few or too many columns.
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
        raise ListeningError("an A/B test needs two runs; compare several, or use --kind mos")
    if len(sets[0]) > MOST_STIMULI:
        raise ListeningError(
            f"too many stimuli for a MUSHRA trial: {len(sets[0])}, BS.1534-3 allows {MOST_STIMULI}; compare fewer runs"
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
    """Return an order of trials, and of the stimuli within each trial, for every listener; determined by the seed.

    Trials are presented in rounds that contain each clip once, so that a clip is repeated as late as possible. With n
    trials, in each block of n consecutive listeners every trial has every position exactly once (a Latin square with
    shuffled rows). The same holds for the stimuli within a trial.

    Args:
        clips: The clip of each trial; all clips have the same number of trials.
        sizes: Number of stimuli of each trial.
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
    """Return `count` orders of `size` things; in each block of `size` orders, each thing has each position once."""
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
    """Return the plan with trials and stimuli sorted by their opaque names, and the orders adapted accordingly."""
    stimuli = [sorted(range(len(t.stimuli)), key=lambda i, t=t: t.stimuli[i].id) for t in trials]
    places = sorted(range(len(trials)), key=lambda i: trials[i].id)
    hidden = tuple(replace(trials[i], stimuli=tuple(trials[i].stimuli[j] for j in stimuli[i])) for i in places)
    forms = tuple([(places.index(i), [stimuli[i].index(j) for j in heard]) for i, heard in order] for order in orders)
    return Plan(test, kind, made_of, hidden, forms)


def save_plan(plan: Plan, folder: Path) -> None:
    """Write `plan.json` into the test's folder."""
    write_atomically(folder / FILE, json.dumps({"version": VERSION, **asdict(plan)}) + "\n")


def _check_plan(plan: Plan) -> None:
    """Check the indices of trials and stimuli, and that the columns are those of the comparison."""
    known = {TRUTH, *plan.made_of["columns"], *plan.made_of["anchors"]}
    if plan.kind not in RANGES:
        raise InvalidValueError(f"kind is {plan.kind!r:.40}")
    if plan.kind == "ab" and any(len(trial.stimuli) != 2 for trial in plan.trials):
        raise InvalidValueError("a trial does not have two stimuli")
    if plan.kind in SINGLE and any(len(trial.stimuli) != 1 for trial in plan.trials):
        raise InvalidValueError("a trial does not have one stimulus")
    if strange := {s.column for trial in plan.trials for s in trial.stimuli} - known:
        raise InvalidValueError(f"{min(strange)!r:.40} is not a column")
    if not plan.forms:
        raise InvalidValueError("it has no forms")
    for number, heard in (order for form in plan.forms for order in form):
        if not 0 <= number < len(plan.trials) or sorted(heard) != list(range(len(plan.trials[number].stimuli))):
            raise InvalidValueError(f"a form has the trial {number} with the stimuli {heard!r:.40}")


def load_plan(folder: Path) -> Plan:
    """Read the plan of a test.

    Raises:
        ListeningError: the plan is missing, damaged or of another version.
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
        raise ListeningError(f"{folder} contains no listening test; create one with `ostinato listen`") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ListeningError(f"{path} is not a valid plan of a listening test ({error}); remove {folder}") from None


def listed(plan: Plan) -> list[str]:
    """Return the columns and anchors of a test, ground truth first."""
    names = {stimulus.column: None for trial in plan.trials for stimulus in trial.stimuli}
    order = [TRUTH, *plan.made_of["columns"], *plan.made_of["anchors"]]
    return sorted(names, key=order.index)
