"""Finding sweeps: module-level `Sweep` objects of the experiments."""

import ast
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from framework.catalogue import UnknownExperimentError, modules
from framework.hyperparameters import nearest
from framework.shelf import PACKAGE, folders, installed_packages


def find_sweep(name: str) -> tuple[str, Any, str]:
    """Return a sweep's name, the sweep, and the first line of its module's docstring.

    The name is the module's if it has one sweep, else `module.object`.

    Raises:
        UnknownExperimentError: there is no such sweep; the message names the closest one.
    """
    from framework.sweeps.sweep import Sweep

    name = name.removeprefix(f"{PACKAGE}.")
    known, places = list(sweep_modules()), modules()
    for module, wanted in ((name, ""), name.rpartition(".")[::2]):
        matching = [m for m in known if m == module] or [m for m in known if m.rpartition(".")[2] == module]
        if len(matching) > 1:
            raise UnknownExperimentError(f"{name!r} is ambiguous: {' or '.join(matching)}")
        if not matching:
            continue
        values = vars(importlib.import_module(places[matching[0]]))
        question = (values["__doc__"] or "").strip().partition("\n")[0]
        found = {key: value for key, value in values.items() if isinstance(value, Sweep)}
        short = matching[0].rpartition(".")[2]
        if wanted in found:
            return (short if len(found) == 1 else f"{short}.{wanted}"), found[wanted], question
        if not wanted and len(found) == 1:
            return short, next(iter(found.values())), question
        held = " and ".join(f"{matching[0]}.{key}" for key in found) or "no sweep"
        raise UnknownExperimentError(f"{matching[0]} holds {held}: name one of them")
    names = [*known, *(m.rpartition(".")[2] for m in known)]
    raise UnknownExperimentError(f"no sweep {name!r}: {nearest(name, names)} (`ostinato sweep` lists all)")


def is_sweep_name(name: str) -> bool:
    """Return whether a name is that of a module below `experiments/` that mentions `Sweep`, or of an object in one."""
    known = {part for module in sweep_modules() for part in (module, module.rpartition(".")[2])}
    return bool({name, name.rpartition(".")[0]} & known)


def sweep_modules() -> dict[str, str]:
    """Return the first docstring line of each module that mentions `Sweep`, without importing it."""
    files = {name: _file_of(module) for name, module in modules().items()}
    texts = ((name, path.read_text()) for name, path in files.items() if path is not None)
    spoken = {module: ast.get_docstring(ast.parse(text)) or "" for module, text in texts if "Sweep(" in text}
    return {module: docstring.partition("\n")[0] for module, docstring in spoken.items()}


def _file_of(module: str) -> Path | None:
    """Return the file of a module without importing it."""
    package = next((one for one in (PACKAGE, *installed_packages()) if module.startswith(f"{one}.")), "")
    parts = module.removeprefix(f"{package}.").split(".")
    if package == PACKAGE:
        places = folders()
    else:
        spec = importlib.util.find_spec(package)
        places = [Path(location) for location in (spec.submodule_search_locations or [] if spec else [])]
    return next((file for place in places if (file := place.joinpath(*parts).with_suffix(".py")).is_file()), None)


def sweep_lines() -> list[str]:
    """Return a line for each sweep: its name and its question."""
    known = {name.removeprefix("ablations."): question for name, question in sweep_modules().items()}
    return [f"  {name:{max(map(len, known))}}  {question}" for name, question in known.items()]
