"""Locations of experiments: in the project, in the working directory, on Python's path, and in installed packages.

The package `experiments` is made of the project's own folder, of `experiments/` in the working directory, and of
packages of this name on Python's path, whichever comes first there. Installed packages name theirs by an entry point of
the group `ostinato.experiments`; their modules keep their own names.
"""

import functools
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

PACKAGE = "experiments"
GROUP = "ostinato.experiments"
OWN = Path(__file__).resolve().parents[1] / PACKAGE
"""The project's own experiments."""
_OF_OURS = re.compile(r"^\s*(from|import)\s+(framework|datamodules|experiments|ostinato)\b", re.MULTILINE)


def folders(*parts: str) -> list[Path]:
    """Return the folders of the package `experiments`, or of a package inside it; the project's own first.

    Args:
        parts: Names of the packages inside.
    """
    packages = [Path(entry or ".") / PACKAGE for entry in sys.path]
    everywhere = [OWN, Path.cwd() / PACKAGE, *(path for path in packages if (path / "__init__.py").is_file())]
    found = (path.resolve().joinpath(*parts) for path in everywhere)
    return list(dict.fromkeys(path for path in found if path.is_dir()))


@functools.cache
def installed_packages() -> tuple[str, ...]:
    """Return the names of the packages that installed distributions name as holding experiments."""
    return tuple(sorted({entry.value for entry in importlib.metadata.entry_points(group=GROUP)}))


def is_installed(module: str) -> bool:
    """Return whether a module belongs to the experiments of an installed package."""
    return any(module == package or module.startswith(f"{package}.") for package in installed_packages())


def holds_experiments(path: Path) -> bool:
    """Return whether a file may hold experiments: others' files beside them are not imported to look."""
    if path.is_relative_to(OWN):
        return True
    try:
        return bool(_OF_OURS.search(path.read_text(errors="replace")))
    except OSError:
        return False


class ExperimentsFinder(MetaPathFinder):
    """Makes `experiments`, and packages inside it, of all folders of the name."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """Return the package, None for all other modules."""
        package, *parts = name.split(".")
        if package != PACKAGE or not (found := folders(*parts)):
            return None
        locations = list(map(str, found))
        init = next((folder / "__init__.py" for folder in found if (folder / "__init__.py").is_file()), None)
        if init is not None:
            return importlib.util.spec_from_file_location(name, init, submodule_search_locations=locations)
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = locations
        return spec


def install() -> None:
    """Let `import experiments` find all folders, also where it was imported from one of them before."""
    if not any(isinstance(finder, ExperimentsFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, ExperimentsFinder())
    refresh()


def refresh() -> None:
    """Let packages that are imported already find the folders of today, as the working directory may be another."""
    for name, module in list(sys.modules.items()):
        package, *parts = name.split(".")
        if package == PACKAGE and hasattr(module, "__path__"):
            module.__path__ = list(map(str, folders(*parts)))
