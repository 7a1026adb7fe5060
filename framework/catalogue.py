"""The catalogue of experiments: their names, what each changes, and suggestions for misspelt names.

An experiment's name is its module below `experiments/`; the last part is enough where it is unique. A module that
holds several is addressed as `module.Class`. Where modules are looked for, `framework.shelf` says.
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

from framework import shelf
from framework.annotations import describe
from framework.errors import OstinatoError
from framework.hyperparameters import nearest
from framework.progress import progress
from framework.writing import write_atomically


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
    """Return the names of all modules of experiments, without importing them."""
    return list(modules())


def modules() -> dict[str, str]:
    """Return the modules of experiments by their names, without importing them; the shortest names first.

    Raises:
        UnknownExperimentError: a file outside the project has the name of one of its experiments.
    """
    shelf.refresh()
    packages = {shelf.PACKAGE: list(map(str, shelf.folders()))}
    for package in shelf.installed_packages():
        spec = importlib.util.find_spec(package)
        packages[package] = list(spec.submodule_search_locations or []) if spec else []
    found: dict[str, str] = {}
    for package, locations in packages.items():
        for module in walk(locations, f"{package}."):
            name = module.name.removeprefix(f"{package}.")
            found[module.name if name in found else name] = module.name
    return dict(sorted(found.items(), key=lambda item: (item[0].count("."), item[0])))


def walk(locations: list[str], prefix: str) -> Iterator[Any]:
    """Yield the modules below a package's folders that may hold experiments, packages entered but not imported."""
    for module in pkgutil.iter_modules(locations, prefix):
        if not module.ispkg and prefix.startswith(f"{shelf.PACKAGE}."):
            file = Path(module.module_finder.path) / f"{module.name.rpartition('.')[2]}.py"  # type: ignore[union-attr]
            if not shelf.holds_experiments(file):
                continue
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
    name, known = name.removeprefix(f"{shelf.PACKAGE}."), modules()
    for module, cls in ((name, ""), name.rpartition(".")[::2]):
        matching = [m for m in known if m == module] or [m for m in known if module and m.rpartition(".")[2] == module]
        if len(matching) > 1:
            raise UnknownExperimentError(f"{name!r} is ambiguous: {' or '.join(matching)}")
        if not matching:
            continue
        check_unique(known[matching[0]])
        found = experiments_of(importlib.import_module(known[matching[0]]))
        if cls and cls in found:
            return found[cls]
        if not cls and len(found) == 1:
            return next(iter(found.values()))
        held = " and ".join(f"{matching[0]}.{name}" for name in found) or "no experiment"
        raise UnknownExperimentError(f"{matching[0]} holds {held}: name one of them")
    raise UnknownExperimentError(f"no experiment {name!r}: {_like(name, list(known))} (`ostinato list` shows all)")


def check_unique(module: str) -> None:
    """Check that a module of the package `experiments` is in only one of its folders.

    Raises:
        UnknownExperimentError: naming the files.
    """
    package, *parts = module.split(".")
    if package != shelf.PACKAGE:
        return
    files = [str(file) for folder in shelf.folders() if (file := folder.joinpath(*parts).with_suffix(".py")).is_file()]
    if len(files) > 1:
        raise UnknownExperimentError(f"{parts[-1]!r} is the name of several files: rename one of {' and '.join(files)}")


def _like(name: str, modules: list[str]) -> str:
    """Return a suggestion for a misspelt name; for a path, the name of the file."""
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
    known = progress(modules().values(), "reading experiments", unit="modules", at_once=True)
    found = [entry for module in known for entry in describe_module(module)]
    with contextlib.suppress(OSError):
        for stale in cached.parent.glob("*.json"):
            stale.unlink(missing_ok=True)
        write_atomically(cached, json.dumps([asdict(entry) for entry in found]))
    return found


def sources_state() -> str:
    """Return a hash that changes with any source file of the project."""
    digest = hashlib.sha256(sys.version.encode())
    packages = ["framework", "datamodules", *shelf.installed_packages()]
    specs = [spec for package in packages if (spec := importlib.util.find_spec(package))]
    places = [Path(location) for spec in specs for location in spec.submodule_search_locations or []]
    for place in (*places, *shelf.folders()):
        for path in sorted(place.rglob("*.py")):
            status = path.stat()
            digest.update(f"{path}{status.st_mtime_ns}{status.st_size}".encode())
    return digest.hexdigest()[:24]


def describe_module(module: str) -> list[Entry]:
    """Return the entries of a module's experiments; of one outside the project that cannot be imported a warning."""
    try:
        return [entry_of(cls) for cls in experiments_of(importlib.import_module(module)).values()]
    except Exception as error:
        spec = importlib.util.find_spec(module)
        file = (spec.origin if spec else None) or ""
        if Path(file).is_relative_to(shelf.OWN):
            raise
        print(f"warning: {file} cannot be imported ({type(error).__name__}: {error})", file=sys.stderr)
        return []


def name_of(cls: type) -> str:
    """Return an experiment's name: its module, with the class where that holds several."""
    packages = (shelf.PACKAGE, *shelf.installed_packages())
    package = next((package for package in packages if cls.__module__.startswith(f"{package}.")), "")
    module = cls.__module__.removeprefix(f"{package}.") if package else cls.__module__
    return module if len(experiments_of(sys.modules[cls.__module__])) == 1 else f"{module}.{cls.__name__}"


def entry_of(cls: Any) -> Entry:
    """Return an experiment's line of the list."""
    parent = cls.__mro__[1]
    system = next(base for base in cls.__mro__ if not is_experiment(base))
    changes = [change(what, old, new) for what, (old, new) in cls.changes().items()]
    base = name_of(parent) if is_experiment(parent) else ""
    return Entry(name_of(cls), first_line(cls), first_line(system), parent.__name__, base, changes)


def is_experiment(cls: type) -> bool:
    """Return whether a class is defined in a module of experiments."""
    return cls.__module__.partition(".")[0] == shelf.PACKAGE or shelf.is_installed(cls.__module__)


def first_line(cls: type) -> str:
    """Return the first line of a class's docstring."""
    return (cls.__doc__ or "").strip().partition("\n")[0]


def change(what: str, old: Any, new: Any) -> str:
    """Format a change for the list: `channels 512 -> 256`."""
    if what.endswith("()"):
        return f"{what} overridden"
    return f"{what} {shown(new)}" if old is None else f"{what} {shown(old)} -> {shown(new)}"


def shown(value: Any) -> str:
    """Format a value."""
    return describe(value) if isinstance(value, type) else repr(value)
