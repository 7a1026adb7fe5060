"""The values that every experiment's identity is made of, as they were when they were last looked at.

A change here orphans runs that exist. Where it is meant, write them anew: `OSTINATO_GOLDEN=write pytest -n 0` with the
path of this file.
"""

import json
import os
from pathlib import Path

from framework.aliases import with_first_names
from framework.catalogue import describe_module, find, modules
from framework.runs.identity import canonical, signature

GOLDEN = Path(__file__).with_name("golden_identities.json")


def values_of(cls):
    """Return the values of a class that enter an identity, without making what it is built of."""
    values = {n: p.default for n, p in cls.hyperparameters.items() if p.kind == "value" and p.default != p.silent_at}
    return with_first_names(cls, {name: value for name, value in values.items() if name != "seed"})


def test_no_experiment_has_lost_its_runs():
    names = [entry.name for module in modules().values() for entry in describe_module(module)]
    found = {}
    for experiment in map(find, names):
        parts = {"model": values_of(experiment), "data": values_of(experiment.data)}
        trainer = {"max_steps": experiment.max_steps, "precision": experiment.precision, "seed": experiment.seed}
        found[f"{experiment.__module__}.{experiment.__name__}"] = signature(canonical(parts | {"trainer": trainer}))
    if os.environ.get("OSTINATO_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
    known = json.loads(GOLDEN.read_text())
    changed = [name for name in known if found.get(name, known[name]) != known[name]]
    assert not changed, "their values have changed: mark hyperparameters that are new with added(...)"
