"""The experiments by name: which there are, what each changes, and the nearest to a misspelt one.

An experiment's name is its module below `experiments/`; the last part is enough where it is unique. A module that
holds several is addressed as `module.Class`.
"""

import contextlib
import hashlib
import importlib
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from framework.annotations import describe
from framework.errors import OstinatoError
from framework.hyperparameters import nearest
from framework.progress import progress
from framework.writing import write_atomically

PACKAGE = "experiments"


class UnknownExperimentError(OstinatoError, ValueError):
    """No experiment has this name; the message names the nearest."""


@dataclass(frozen=True)
class Entry:
    """One line of the list of experiments.

    Args:
        name: The experiment's name.
        summary: The first line of its docstring.
        family: The first line of the docstring of the system that it is an experiment with.
        parent: The class whose values it changes.
        base: Name of the experiment that it is derived from; empty for none.
        changes: What it changes against its parent.
    """

    name: str
    summary: str
    family: str
    parent: str
    base: str
    changes: list[str]


def module_names() -> list[str]:
    """Return the names of all modules below `experiments/`, without importing them."""
    package = importlib.util.find_spec(PACKAGE)
    locations = list(package.submodule_search_locations or []) if package else []
    names = [m.name.removeprefix(f"{PACKAGE}.") for m in walk(locations, f"{PACKAGE}.")]
    return sorted(names, key=lambda name: (name.count("."), name))


def walk(locations: list[str], prefix: str) -> Iterator[Any]:
    """Yield the modules below a package's folders, packages entered but not imported."""
    for module in pkgutil.iter_modules(locations, prefix):
        if module.ispkg:
            inner = [str(Path(location) / module.name.rpartition(".")[2]) for location in locations]
            yield from walk(inner, f"{module.name}.")
        else:
            yield module


def experiments_of(module: ModuleType) -> dict[str, type]:
    """Return the experiments that a module defines, by class name."""
    from framework.paradigms.system import System

    classes = (value for value in vars(module).values() if isinstance(value, type) and issubclass(value, System))
    return {cls.__name__: cls for cls in classes if cls.__module__ == module.__name__}


def find(name: str) -> type:
    """Return the experiment of this name.

    Raises:
        UnknownExperimentError: naming the nearest, or the classes of a module that holds several.
    """
    name = name.removeprefix(f"{PACKAGE}.")
    modules = module_names()
    for module, cls in ((name, ""), name.rpartition(".")[::2]):
        matching = [m for m in modules if m == module] or [
            m for m in modules if module and m.rpartition(".")[2] == module
        ]
        if len(matching) > 1:
            raise UnknownExperimentError(f"{name!r} is ambiguous: {' or '.join(matching)}")
        if not matching:
            continue
        found = experiments_of(importlib.import_module(f"{PACKAGE}.{matching[0]}"))
        if cls and cls in found:
            return found[cls]
        if not cls and len(found) == 1:
            return next(iter(found.values()))
        held = " and ".join(f"{matching[0]}.{name}" for name in found) or "no experiment"
        raise UnknownExperimentError(f"{matching[0]} holds {held}: name one of them")
    raise UnknownExperimentError(f"no experiment {name!r}: {_like(name, modules)} (`ostinato list` shows all)")


def _like(name: str, modules: list[str]) -> str:
    """Return the nearest name; for a path, that of the file alone, as it is like no name."""
    short = [module.rpartition(".")[2] for module in modules]
    if "/" not in name and not Path(name).exists():
        return nearest(name, [*modules, *short])
    stem = Path(name).stem
    return f"did you mean {stem}?" if stem in short else "it is a path, and the name of an experiment is needed"


def entries() -> list[Entry]:
    """Return all experiments with what each changes; read from a cache while no source file has changed."""
    from framework.cache import cache_folder

    cached = cache_folder() / "catalogue" / f"{sources_state()}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        return [Entry(**entry) for entry in json.loads(cached.read_text())]
    modules = progress(module_names(), "reading experiments", unit="modules", at_once=True)
    found = [entry for module in modules for entry in describe_module(module)]
    with contextlib.suppress(OSError):
        for stale in cached.parent.glob("*.json"):
            stale.unlink(missing_ok=True)
        write_atomically(cached, json.dumps([asdict(entry) for entry in found]))
    return found


def sources_state() -> str:
    """Return a hash that changes with any source file of the project."""
    digest = hashlib.sha256(sys.version.encode())
    for package in ("framework", "datamodules", PACKAGE):
        spec = importlib.util.find_spec(package)
        for location in spec.submodule_search_locations or [] if spec else []:
            for path in sorted(Path(location).rglob("*.py")):
                status = path.stat()
                digest.update(f"{path}{status.st_mtime_ns}{status.st_size}".encode())
    return digest.hexdigest()[:24]


def describe_module(module: str) -> list[Entry]:
    """Return the entries of a module's experiments."""
    return [entry_of(cls) for cls in experiments_of(importlib.import_module(f"{PACKAGE}.{module}")).values()]


def name_of(cls: type) -> str:
    """Return an experiment's name: its module, with the class where that holds several."""
    module = cls.__module__.removeprefix(f"{PACKAGE}.")
    return module if len(experiments_of(sys.modules[cls.__module__])) == 1 else f"{module}.{cls.__name__}"


def entry_of(cls: Any) -> Entry:
    """Return an experiment's line of the list."""
    parent = cls.__mro__[1]
    system = next(base for base in cls.__mro__ if not is_experiment(base))
    changes = [change(what, old, new) for what, (old, new) in cls.changes().items()]
    base = name_of(parent) if is_experiment(parent) else ""
    return Entry(name_of(cls), first_line(cls), first_line(system), parent.__name__, base, changes)


def is_experiment(cls: type) -> bool:
    """Say whether a class is defined below `experiments/`."""
    return cls.__module__.partition(".")[0] == PACKAGE


def first_line(cls: type) -> str:
    """Return the first line of a class's docstring."""
    return (cls.__doc__ or "").strip().partition("\n")[0]


def change(what: str, old: Any, new: Any) -> str:
    """Return one change as it reads in a list: `channels 512 -> 256`."""
    if what.endswith("()"):
        return f"{what} overridden"
    return f"{what} {shown(new)}" if old is None else f"{what} {shown(old)} -> {shown(new)}"


def shown(value: Any) -> str:
    """Return a value as a reader writes it."""
    return describe(value) if isinstance(value, type) else repr(value)
