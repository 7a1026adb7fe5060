"""Classes that files name: only those of the project, of an allowed package, or of code that is running already.

A release or a run folder may come from somebody else. Importing a module runs it, so a file may not choose any module
that happens to be installed.
"""

import functools
import importlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.errors import OstinatoError
from framework.runs.identity import of_project, stored_structure
from framework.shelf import is_installed

ALLOW = "OSTINATO_ALLOW_PACKAGES"
"""Environment variable with the names of further packages whose classes files may name, separated by commas."""


class StoredCodeError(OstinatoError, RuntimeError):
    """A file names code that is not of the project; the message names the file and how to allow it."""


def import_stored(module: Any, file: str | Path) -> Any:
    """Return a module that a file names.

    Raises:
        StoredCodeError: it is not of the project, nor of an allowed package, nor imported already.
        ImportError: there is no such module.
    """
    check_module(module, file)
    return importlib.import_module(module)


def class_stored(path: Any, file: str | Path) -> Any:
    """Return a class that a file names as `module:name`.

    Raises:
        StoredCodeError: as `import_stored`.
        ImportError, AttributeError: there is no such class.
    """
    check_path(path, file)
    module, _, name = path.partition(":")
    return functools.reduce(getattr, name.split("."), importlib.import_module(module))


def check_path(path: Any, file: str | Path) -> None:
    """Refuse a class `module:name` whose module a file may not name.

    Raises:
        StoredCodeError: it may not, or it is no such path.
    """
    if not isinstance(path, str) or path.count(":") != 1:
        raise StoredCodeError(f"{file} names {str(path)[:80]!r} as a class, which is not module:name: get it again")
    check_module(path.partition(":")[0], file)


def check_module(module: Any, file: str | Path) -> None:
    """Refuse a module that a file may not name.

    Raises:
        StoredCodeError: it may not; the message says how to allow it.
    """
    if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
        raise StoredCodeError(f"{file} names {str(module)[:80]!r} as a module, which is no name of one: get it again")
    package = module.partition(".")[0]
    allowed = {name.strip() for name in os.environ.get(ALLOW, "").split(",")}
    if of_project(module) or package in allowed or module in sys.modules or is_installed(module):
        return
    raise StoredCodeError(
        f"{file} names code of the package {package!r} ({module}), which is not a part of ostinato: if you trust both, "
        f"set {ALLOW}={package}, or import it first"
    )


def check_modules(experiment: Any, identity: Mapping[str, Any], file: str | Path) -> None:
    """Refuse the experiment and the system of a stored run whose modules a file may not name.

    Raises:
        StoredCodeError: it may not.
    """
    check_module(experiment, file)
    for path in stored_structure(identity):
        check_path(path, file)
