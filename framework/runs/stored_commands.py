"""Commands in stored values: a `pipe:COMMAND` that only a file names is not run.

A run folder, a configuration or a sweep file may come from somebody else. `AudioFolder(path="pipe:COMMAND")` runs a
command, so such a value is used only where the command line or the code names it too, or where `OSTINATO_ALLOW_PIPE`
is set.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from framework.errors import OstinatoError

COMMAND = "pipe:"
"""Beginning of a source that is the output of a command."""
ALLOW = "OSTINATO_ALLOW_PIPE"
"""Environment variable that allows the commands that files name, if it is set to anything but 0."""
_SHOWN = 200
"""Characters of a command that a message shows."""

_given: set[str] = set()
_stored: dict[str, tuple[Path, str]] = {}


class StoredCommandError(OstinatoError, RuntimeError):
    """A file names a command to run; the message names the file and how to allow it."""


def commands_in(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the `pipe:` sources in nested values, each with the dotted name of where it is."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from commands_in(item, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from commands_in(item, name)
    elif isinstance(value, str):
        yield from ((name, part) for part in value.split("::") if part.startswith(COMMAND))


def forget_commands() -> None:
    """Forget which commands were given and which are stored, as another command line begins."""
    _given.clear()
    _stored.clear()


def give_commands(words: list[str]) -> None:
    """Allow the commands that the words of a command line name, as `--data.path=pipe:...` or `pipe:...`."""
    for word in words:
        _given.update(command for _, command in commands_in([word, word.partition("=")[2]]))


def distrust_commands(values: Mapping[str, Any], file: str | Path) -> None:
    """Remember the commands that a file names, so that `check_command` refuses them."""
    _stored.update({command: (Path(file), name) for name, command in commands_in(values)})


def refuse_commands(values: Mapping[str, Any], file: str | Path) -> None:
    """Refuse the commands that a file names at once.

    Raises:
        StoredCommandError: it names one that is not allowed.
    """
    distrust_commands(values, file)
    for _, command in commands_in(values):
        check_command(command)


def check_command(source: str) -> None:
    """Refuse a `pipe:` source that is known from a file alone.

    Raises:
        StoredCommandError: naming the file and the remedy.
    """
    if source in _given or source not in _stored or os.environ.get(ALLOW, "0") != "0":
        return
    file, name = _stored[source]
    raise StoredCommandError(
        f"{file} names a command to run, which only the command line may do: {name} = {source[:_SHOWN]!r}; "
        f"if you trust it, give --{name} yourself or set {ALLOW}=1, or give other data by --data"
    )
