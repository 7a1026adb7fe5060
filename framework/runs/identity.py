"""What makes two runs the same run: every value that can change the result, and the code that uses them."""

import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

from framework.errors import InvalidTypeError
from framework.hyperparameters import Hyperparameters

TRAINER_SETTINGS = ("max_steps", "precision", "max_epochs", "limit_train_batches", "overfit_batches", "fast_dev_run")
"""The arguments of Lightning's Trainer that can change a result; the rest (devices, cadences, paths) cannot."""


def canonical(value: Any) -> Any:
    """Return a value in the one form in which equal values are equal text: `1.0` is `1`, a list is a tuple.

    Raises:
        TypeError: for anything but numbers, strings, `None`, sequences, mappings and classes.
    """
    if isinstance(value, type):
        return f"{value.__module__}:{value.__qualname__}"
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return int(value) if value == int(value) else float(value)
    raise InvalidTypeError(f"a hyperparameter cannot hold {type(value).__name__}")


def identity(system: Hyperparameters, data: Hyperparameters, trainer: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """Return everything that a run's result depends on.

    `trainer` are the arguments of Lightning's Trainer; of those only `TRAINER_SETTINGS` that are set count. The data
    enters by the hash of its manifest, not by its path.
    """
    return canonical(
        {
            "system": type(system).system(),
            "model": system.resolved(),
            "data": {
                "class": type(data).system(),
                "manifest": data.fingerprint(),  # type: ignore[attr-defined]
                **{name: value for name, value in data.resolved().items() if name != "seed"},
            },
            "trainer": {n: trainer[n] for n in TRAINER_SETTINGS if trainer.get(n) not in (None, False)},
            "seed": seed,
        }
    )


def signature(identity: Mapping[str, Any]) -> str:
    """Return the short hash that names a run."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]


def family(identity: Mapping[str, Any]) -> str:
    """Return the short hash that runs share which differ in their seed alone."""
    return signature({name: value for name, value in identity.items() if name != "seed"})


def source_hash(*classes: type) -> str:
    """Return a hash of the project's source files behind the classes and their ancestors."""
    bases = {base for cls in classes for base in cls.__mro__ if of_project(base.__module__)}
    files = sorted({inspect.getfile(base) for base in bases})
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as source:
            digest.update(source.read())
    return digest.hexdigest()[:16]


def of_project(module: str) -> bool:
    """Say whether a module belongs to the project rather than to a library it stands on."""
    return module.partition(".")[0] in ("framework", "datamodules", "experiments")
