"""Resolves and checks the `--output` of a command before any work starts."""

import difflib
import os
import shutil
import stat
from collections.abc import Iterable, Sequence
from pathlib import Path

from framework.errors import OstinatoError
from framework.folders import AUDIO_SUFFIXES
from framework.writing import part_of, remedy, remove_file

FILE_SUFFIXES = (*AUDIO_SUFFIXES, ".ost", ".safetensors", ".onnx", ".pt2", ".png")
"""Suffixes of files that commands write or read; an output without one of them is a folder."""
_PROBE = 4096
"""Number of bytes written to test whether a folder is writable."""


class OutputError(OstinatoError, ValueError):
    """An output cannot be written, or would replace a file."""


def output_file(given: str | Path, name: str, suffixes: Sequence[str], option: str = "--output") -> Path:
    """Return the file that an option names.

    A name that ends like a file is that file; anything else is a folder, in which the file has the name `name`.

    Args:
        given: The value of the option.
        name: Name of the file in a folder.
        suffixes: Endings of the files that can be written.
        option: Name of the option, for the message.

    Raises:
        OutputError: it ends like a file of another type, or nearly like one.
    """
    path, is_folder = Path(given), str(given).endswith(os.sep)
    suffix = _suffix(path)
    if suffix in suffixes and path.name.lower() != suffix and not is_folder:
        return path
    if not is_folder and (suffix in FILE_SUFFIXES or (_is_misspelt(suffix) and not path.is_dir())):
        known = " or ".join(suffixes[:2])
        raise OutputError(f"{option} {given}: such a file cannot be written: name a {known} file, or a folder")
    return path / name


def output_folder(given: str | Path, option: str = "--output") -> Path:
    """Return the folder that an option names.

    Raises:
        OutputError: the name ends like a file.
    """
    path = Path(given)
    if not path.is_dir() and not str(given).endswith(os.sep) and _suffix(path) in FILE_SUFFIXES:
        raise OutputError(f"{option} {given} is the name of a file where a folder is needed: name a folder")
    return path


def check_outputs(
    files: Iterable[Path],
    overwrite: bool = False,
    inputs: Iterable[str | Path] = (),
    size: int = 0,
    option: str = "--output",
) -> None:
    """Check, before any work, that files can be written and that none of them is there already.

    Args:
        files: What will be written, or removed.
        overwrite: Whether files that are there may be replaced.
        inputs: Files that are read, which are never replaced.
        size: Bytes that will be written, as far as they are known.
        option: Name of the option, for the message.

    Raises:
        OutputError: a file exists, is an input, is a folder or a device, or a folder cannot be written to or is full.
    """
    read = {os.path.realpath(path) for path in inputs}
    existing, folders = [], set()
    for path in files:
        if os.path.realpath(path) in read:
            raise OutputError(f"{path} is one of the recordings: name another {option}")
        if _is_there(path, option):
            existing.append(path)
        folders.add(_nearest_folder(path, option))
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more exist" if existing[1:] else " exists"
        them = "them" if existing[1:] else "it"
        raise OutputError(f"{existing[0]}{more} already: name another {option}, or replace {them} by --overwrite")
    for folder in sorted(folders):
        _check_folder(folder, size, option)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return name if name in FILE_SUFFIXES else path.suffix.lower()


def _is_misspelt(suffix: str) -> bool:
    return bool(difflib.get_close_matches(suffix, FILE_SUFFIXES, 1, 0.8))


def _is_there(path: Path, option: str) -> bool:
    """Return whether a file or a link, also a broken one, exists."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return False  # the folder is named by `_nearest_folder`
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}): {remedy(error)}") from None
    if path.is_dir():
        raise OutputError(f"{path} is a folder where a file is needed: name another {option}")
    if not stat.S_ISREG(found.st_mode) and not (path.is_symlink() and (path.is_file() or not path.exists())):
        raise OutputError(f"{path} is no regular file: name another {option}")
    return True


def _nearest_folder(path: Path, option: str) -> Path:
    """Return the nearest existing folder above a file."""
    for folder in path.parents:
        if folder.is_dir():
            return folder
        if os.path.lexists(folder):
            raise OutputError(f"{folder} is a file where a folder is needed: name another {option}")
    raise OutputError(f"{path} is in no folder that exists: name another {option}")


def _check_folder(folder: Path, size: int, option: str) -> None:
    """Test that a folder is writable with a temporary file, and compare the free space with the needed size."""
    probe = part_of(folder / "output")
    try:
        with open(probe, "wb") as file:
            file.write(bytes(_PROBE))
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise OutputError(f"{folder} cannot be written ({error.strerror}): {remedy(error)}") from None
    finally:
        remove_file(probe)
    if free < size:
        raise OutputError(
            f"{folder} has {free / 1e6:,.1f} MB free, {size / 1e6:,.1f} MB are needed: make room, or name another "
            f"{option}"
        )
