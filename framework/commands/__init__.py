"""The commands of `ostinato`: one file for each, with a class as `framework.workflow.command` describes it.

The files are the tree of sub-commands: the first word names a file, and only that file is imported.
"""

import pkgutil
from importlib import import_module
from typing import get_args

from framework.workflow.command import BaseCommand, Group


def names() -> list[str]:
    """Return the names of all commands, without importing any."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def command(name: str) -> BaseCommand:
    """Return a command."""
    module = import_module(f"{__name__}.{name}")
    (cls,) = [
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, BaseCommand) and found.__module__ == module.__name__
    ]
    return cls()


def overview() -> str:
    """Return the help of `ostinato` itself."""
    known = [command(name) for name in names()]
    lines = ["usage: ostinato COMMAND [...]"]
    for group in get_args(Group):
        lines += ["", f"{group}:"]
        for one in known:
            if one.group == group:
                lines.append(f"  {f'{one.name} {one.takes}'.rstrip():<30} {one.summary}")
    lines += [
        "",
        "`ostinato COMMAND --help` explains a command; `ostinato COMMAND NAME --help` also lists all hyperparameters.",
        "Overrides are typed: --model.mel_weight 15 --data.batch_size 8 --trainer.devices 2 --seed 3",
        "NAME is a file below experiments/, as hifigan_v3 or ablations.hifigan_without_mpd (the last part is enough).",
        "RUN is a run's folder or what `ostinato runs` calls it, a checkpoint, or a file by `ostinato release`.",
        "--debug, anywhere on the command line, shows the traceback of any error; --version prints the versions.",
    ]
    return "\n".join(lines) + "\n"
