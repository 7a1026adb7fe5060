"""What makes two runs the same run: every value that can change the result, and the code that uses them."""

import functools
import hashlib
import importlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from framework.aliases import MEMBERS, first_name, members_of, with_first_names
from framework.ancestry import path_of
from framework.errors import InvalidTypeError
from framework.hyperparameters import Hyperparameters
from framework.trainer_arguments import settings_in_identity


def canonical(value: Any) -> Any:
    """Return a value in the one form in which equal values are equal text: `1.0` is `1`, a list is a tuple.

    Raises:
        TypeError: for anything but numbers, strings, `None`, sequences, mappings and classes.
    """
    if isinstance(value, type):
        return f"{first_name(value.__module__)}:{value.__qualname__}"
    if isinstance(value, Mapping):
        return {str(key): canonical(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return int(value) if value == int(value) else float(value)
    raise InvalidTypeError(f"a hyperparameter cannot hold {type(value).__name__}")


VERSION = 2
"""Version of identities, which distinguish combined overrides; earlier ones name the nearest class only."""


def identity(
    system: Hyperparameters, data: Hyperparameters, trainer: Mapping[str, Any], seed: int, manifest: str | None = None
) -> dict[str, Any]:
    """Return everything that a run's result depends on.

    Args:
        system: The system.
        data: Its data module, which has to be prepared unless `manifest` is given.
        trainer: The arguments of Lightning's Trainer, of which those count that can change a result (see
            `framework.trainer_arguments`).
        seed: The run's seed.
        manifest: Hash of the data's manifest, which stands for the data instead of their path; by default the data
            module is asked.

    The code enters as the nearest class that defines more than values. Where other classes define something that does
    not follow from that one, as with `class Both(WithoutMPD, WithCQT)`, all of them stand under `combined`, and the
    identity has a version; every other run keeps the identity that it has had before there were versions.
    """
    combined = {
        part: paths
        for part, instance in (("system", system), ("data", data))
        if (paths := structure_of(type(instance))) != [canonical(type(instance).system())]
    }
    return canonical(
        {
            "system": type(system).system(),
            "model": with_first_names(type(system), system.resolved()),
            "data": {
                "class": type(data).system(),
                "manifest": data.fingerprint() if manifest is None else manifest,  # type: ignore[attr-defined]
                **with_first_names(type(data), {n: value for n, value in data.resolved().items() if n != "seed"}),
            },
            "trainer": settings_in_identity(trainer),
            "seed": seed,
            **({"version": VERSION, "combined": combined} if combined else {}),
        }
    )


def same_but_data(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two identities are equal apart from the data's manifest."""
    return _without_manifest(one) == _without_manifest(other)


def _without_manifest(identity: Mapping[str, Any]) -> dict[str, Any]:
    return canonical({**identity, "data": {**identity["data"], "manifest": ""}})  # type: ignore[no-any-return]


def structure_of(cls: type[Hyperparameters]) -> list[str]:
    """Return the names of the classes that determine what a class does, whatever its values."""
    return [path_of(base) for base in cls.structure()]


def stored_structure(identity: Mapping[str, Any], part: str = "system") -> list[str]:
    """Return the names of the classes that a stored identity says its system (or its `data`) is made of."""
    nearest = identity["system"] if part == "system" else identity["data"]["class"]
    return identity.get("combined", {}).get(part, [nearest])


def is_code_of(cls: type[Hyperparameters], identity: Mapping[str, Any], part: str = "system") -> bool:
    """Return whether a class is the system (or the `data`) of a stored identity, apart from its values.

    An identity without a version names the nearest class alone.
    """
    own = structure_of(cls) if "version" in identity else [canonical(cls.system())]
    return own == stored_structure(identity, part)


def class_of(classes: Iterable[type[Hyperparameters]], identity: Mapping[str, Any]) -> type[Hyperparameters] | None:
    """Return the first of some classes that is the system of a stored identity, apart from its values; None if none is.

    One that is made of the very classes comes before one that an identity without a version may have meant too.
    """
    found = [cls for cls in classes if is_code_of(cls, identity)]
    return next((cls for cls in found if structure_of(cls) == stored_structure(identity)), next(iter(found), None))


def system_of(experiment: str, identity: Mapping[str, Any]) -> type[Hyperparameters]:
    """Return a class that does what the system of a stored identity does, apart from its values.

    That is the one class that the identity names; where it names several, a class of the experiment's module that
    combines them.

    Raises:
        ImportError, AttributeError: the code has no such class.
    """
    paths = stored_structure(identity)
    if len(paths) == 1:
        module, _, name = paths[0].partition(":")
        found: Any = importlib.import_module(module)
        return functools.reduce(getattr, name.split("."), found)
    values = vars(importlib.import_module(experiment)).values()
    system = class_of((v for v in values if isinstance(v, type) and issubclass(v, Hyperparameters)), identity)
    if system is None:
        raise AttributeError(f"{experiment} has no class that combines {' and '.join(paths)}")
    return system


def model_of_today(experiment: str, identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the system's hyperparameters of a stored identity by their names of today.

    Names stay as they are where the project has no such system; modules that others wrote are not imported.
    """
    model: dict[str, Any] = identity["model"]
    has_former = bool(model.keys() & {former for members in MEMBERS.values() for former in members})
    if not has_former or not all(map(of_project, (experiment or "experiments", *stored_structure(identity)))):
        return model
    try:
        today = members_of(system_of(experiment, identity))
    except (ImportError, AttributeError):
        return model
    return {today.get(name, name): value for name, value in model.items()}


def signature(identity: Mapping[str, Any]) -> str:
    """Return the short hash that names a run."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]


def family(identity: Mapping[str, Any]) -> str:
    """Return the short hash that runs share which differ in their seed alone."""
    return signature({name: value for name, value in identity.items() if name != "seed"})


def of_project(module: str) -> bool:
    """Say whether a module belongs to the project rather than to a library it stands on."""
    return module.partition(".")[0] in ("framework", "datamodules", "experiments")
