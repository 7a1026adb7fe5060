"""The source code that a system is made of, definition by definition, and one hash of all of it.

A system is made of the classes of its ancestry and its data module's, and of whatever these name: networks, losses,
discriminators, the mel front end, constants, compiled C++ sources; imports inside functions count too. Only the
project's code and the user's own is followed. Libraries are left out: their versions are kept beside the hash.

Comments, docstrings and formatting do not change the hash. Neither does a definition of the project that the system
does not use: a new class in a module of experiments is no other code for those beside it. Modules of the user are
taken as a whole, because importing one can change anything.
"""

import contextlib
import functools
import hashlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from framework.ancestry import definers
from framework.runs.source_analysis import AnalysisCache, Binding, Module, Statement, digest

VERSION = "2"
"""Version of the hash, its prefix; hashes of earlier versions covered fewer files and cannot be compared."""
PROJECT = ("framework", "datamodules", "experiments")
"""Packages that are followed definition by definition."""
NOT_COUNTED = tuple(
    f"framework.{name}" for name in ("hyperparameters", "ancestry", "annotations", "errors", "lightning", "progress")
)
"""Modules that check and describe what a class says, which enters a run's identity by its values, or show progress."""
CPP = "framework.native.build"
"""Module whose `library("name")` compiles `name.cpp` beside it."""


def source_hash(*classes: type) -> str:
    """Return a hash of the source code that classes are made of."""
    return hash_of(Sources().of(*classes))


def hash_of(definitions: Mapping[str, str]) -> str:
    """Return one hash of definitions, whichever modules they are in."""
    text = " ".join(sorted(definitions.values()))
    return f"{VERSION}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def has_changed(stored: str, now: str) -> bool:
    """Return whether two hashes are of different code; False where it is not known, for one of an earlier version."""
    return stored.startswith(f"{VERSION}:") and stored != now


def changed_names(stored: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Return the names of definitions that differ, as `framework.losses.mel:MelLoss`; moved ones do not."""
    both = set(stored.values()) & set(now.values())
    return sorted({name for definitions in (stored, now) for name, d in definitions.items() if d not in both})


class Sources:
    """Finds the definitions that classes are made of; one object reads each file once."""

    def __init__(self) -> None:
        self.files: dict[str, Path | None] = {}
        self.modules: dict[str, Module] = {}
        self.known: dict[frozenset[tuple[str, str]], dict[str, str]] = {}
        self.cache = AnalysisCache()

    def of(self, *classes: type) -> dict[str, str]:
        """Return the hashes of the definitions that classes are made of, by `module:name`."""
        roots = frozenset(root for cls in classes for root in self._roots(cls))
        if roots not in self.known:
            closure = _Closure(self)
            for module, name in roots:
                closure.include(module, name)
            self.known[roots] = closure.found
            self.cache.save()
        return self.known[roots]

    def _roots(self, cls: type) -> Iterator[tuple[str, str]]:
        # A class that only sets values takes part by those, which are in the run's identity.
        for base in definers(cls):
            # A function that was put into a class from elsewhere is part of it.
            for value in (base, *vars(base).values()):
                module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
                if isinstance(module, str) and isinstance(name, str) and self.is_own(module):
                    yield module, name.partition(".")[0]

    def is_own(self, module: str) -> bool:
        """Return whether a module is the project's or the user's, rather than a library's."""
        return self.file_of(module) is not None

    def file_of(self, module: str) -> Path | None:
        """Return the source file of a module of the project or the user; None for others, and where there is none."""
        if module not in self.files:
            self.files[module] = self._find(module)
        return self.files[module]

    def _find(self, module: str) -> Path | None:
        if module in NOT_COUNTED:
            return None
        root, _, rest = module.partition(".")
        for folder in _locations(root):
            path = folder / rest.replace(".", "/") if rest else folder
            for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
                if file.is_file():
                    return file
        loaded = getattr(sys.modules.get(module), "__file__", None)
        if loaded and loaded.endswith(".py") and not _is_library(Path(loaded)) and Path(loaded).is_file():
            return Path(loaded)
        return None

    def module(self, name: str) -> Module:
        """Return the analysis of a module that is the project's or the user's."""
        if name not in self.modules:
            file = self.file_of(name)
            assert file is not None
            self.modules[name] = self.cache.analysed(file.read_bytes())
        return self.modules[name]


class _Closure:
    """The definitions that are reached from some, through names and imports."""

    def __init__(self, sources: Sources) -> None:
        self.sources = sources
        self.found: dict[str, str] = {}
        self.executed: set[str] = set()
        self.included: set[tuple[str, int]] = set()

    def include(self, module: str, name: str) -> None:
        """Add the definition of a name in a module, which may have imported it."""
        if not self.sources.is_own(module):
            return
        self.execute(module)
        known = self.sources.module(module)
        if name in known.definitions:
            self._add(module, known.definitions[name])
        elif name in known.imports:
            self._follow(module, known.imports[name], [])
        elif self.sources.is_own(f"{module}.{name}"):
            self.include_all(f"{module}.{name}")
        else:
            for star in known.stars:
                self.include(absolute(module, self._is_package(module), star), name)

    def include_all(self, module: str) -> None:
        """Add all that a module defines: it is used in a way that does not say which."""
        if self.sources.is_own(module):
            self.execute(module)
            self._add(module, self.sources.module(module).statements)

    def execute(self, module: str) -> None:
        """Add what importing a module does, beside defining names."""
        if module in self.executed or not self.sources.is_own(module):
            return
        self.executed.add(module)
        parent = module.rpartition(".")[0]
        if parent:
            self.execute(parent)
        known = self.sources.module(module)
        whole = module.partition(".")[0] not in PROJECT
        self._add(module, [s for s in known.statements if whole or s.acts or self._is_registered(module, s)])
        for binding in known.executed:
            self.execute(absolute(module, self._is_package(module), binding))

    def _is_registered(self, module: str, statement: Statement) -> bool:
        """Return whether a definition is decorated by the project or the user: that may enter it in a register."""
        known = self.sources.module(module)
        for root in (name.partition(".")[0] for name in statement.decorators):
            imported = known.imports.get(root)
            if root in known.definitions or (
                imported and self.sources.is_own(absolute(module, self._is_package(module), imported))
            ):
                return True
        return False

    def _add(self, module: str, statements: Iterable[Statement]) -> None:
        known = self.sources.module(module)
        numbers = {id(statement): number for number, statement in enumerate(known.statements)}
        for statement in statements:
            place = module, numbers[id(statement)]
            if place in self.included:
                continue
            self.included.add(place)
            # A name that is defined several times stands for all of its definitions, in their order.
            key = f"{module}:{statement.names[0] if statement.names else ''}"
            self.found[key] = "".join(
                s.digest
                for n, s in enumerate(known.statements)
                if (module, n) in self.included and s.names[:1] == statement.names[:1]
            )
            for name in statement.uses:
                self._resolve(module, statement, name)

    def _resolve(self, module: str, statement: Statement, dotted: str) -> None:
        root, *rest = dotted.split(".")
        known = self.sources.module(module)
        if root in statement.imports:
            self._follow(module, statement.imports[root], rest)
        if root in known.definitions or any(self._exports(module, star, root) for star in known.stars):
            self.include(module, root)
        elif root in known.imports:
            self._follow(module, known.imports[root], rest)
        elif root.startswith("library("):
            self._include_cpp(root[len("library(") : -1])

    def _exports(self, module: str, star: Binding, name: str) -> bool:
        source = absolute(module, self._is_package(module), star)
        if not self.sources.is_own(source):
            return False
        known = self.sources.module(source)
        return name in known.definitions or name in known.imports

    def _follow(self, module: str, binding: Binding, rest: list[str]) -> None:
        """Add what an imported name means, and its attributes where it is a module."""
        target = absolute(module, self._is_package(module), binding)
        names = [binding[2], *rest] if binding[2] else rest
        # As far as the names are modules, the next one is looked for in them.
        while names and self.sources.is_own(f"{target}.{names[0]}"):
            target = f"{target}.{names.pop(0)}"
        if names:
            self.include(target, names[0])
        else:
            self.include_all(target)

    def _is_package(self, module: str) -> bool:
        file = self.sources.file_of(module)
        return file is not None and file.name == "__init__.py"

    def _include_cpp(self, name: str) -> None:
        build = self.sources.file_of(CPP)
        path = build.with_name(f"{name}.cpp") if build else None
        if path and path.is_file():
            self.found[f"{CPP.rpartition('.')[0]}.{path.name}:"] = digest(_without_comments(path.read_text()))


def absolute(module: str, is_package: bool, binding: Binding) -> str:
    """Return the full name of the module of an import in a module."""
    level, name, _ = binding
    if not level:
        return name
    parts = module.split(".")
    base = parts[: len(parts) - level + is_package]
    return ".".join([*base, name] if name else base)


@functools.cache
def _locations(root: str) -> tuple[Path, ...]:
    """Return where the modules of a top-level package are; nowhere for one of a library.

    For a single file that is its path without the suffix.
    """
    spec = None
    with contextlib.suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec(root)
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        places = [Path(place) for place in spec.submodule_search_locations]
    else:
        places = [Path(spec.origin).with_suffix("")] if spec.origin and spec.origin.endswith(".py") else []
    return tuple(place for place in places if root in PROJECT or not _is_library(place))


def _is_library(path: Path) -> bool:
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return any(folder in {*path.parents, *path.resolve().parents} for folder in _standard_library())


@functools.cache
def _standard_library() -> set[Path]:
    return {Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")}


def _without_comments(source: str) -> str:
    return " ".join(re.sub(r"//[^\n]*|/\*.*?\*/", " ", source, flags=re.DOTALL).split())
