"""`ostinato list`: every experiment by family, and every sweep, in a line; with a part of a name, what each changes."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from framework.catalogue import Entry, entries
from framework.errors import InvalidValueError
from framework.sweeps.find import sweep_lines
from framework.workflow.command import Command


class List(Command):
    """List all experiments by family, with the first line of their documentation, and all sweeps with their questions.
    With PART, list the experiments whose name contains it, with what each changes.
    """

    group = "experiments"
    takes = "[PART]"
    summary = "list experiments by family, and sweeps"
    examples = ("ostinato list", "ostinato list hifigan")

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        parser.add_argument("part", type=str, nargs="?", metavar="PART", help="Part of the names to list.")

    def run(self, settings: Any) -> None:
        """Print all experiments, or those whose name contains a part with what they change.

        Raises:
            InvalidValueError: when none does.
        """
        part, known = settings.part, entries()
        if part:
            found = [entry for entry in known if part in entry.name]
            if not found:
                raise InvalidValueError(f"no experiment's name contains {part!r}: `ostinato list` shows all")
            for entry in found:
                print(f"{entry.name}  ({entry.parent})\n    {entry.summary}")
                for change in entry.changes:
                    print(f"        {change}")
            return
        for line in lines(known):
            print(line)
        print("\n".join(["sweeps", *sweep_lines()]))
        print("\n`ostinato list PART` shows what those with PART in their name change against their parents")


def lines(known: list[Entry]) -> Iterator[str]:
    """Yield a line for each experiment under its family's, an ablation behind the experiment that it is one of."""
    width = max(len(short(entry)) + 2 * ablates(entry) for entry in known) + 4
    listed: set[str] = set()

    def with_ablations(entry: Entry) -> Iterator[str]:
        listed.add(entry.name)
        name = "  " * (1 + ablates(entry)) + short(entry)
        yield f"{name:{width}}{entry.summary}"
        for other in known:
            if ablates(other) and other.base == entry.name and other.name not in listed:
                yield from with_ablations(other)

    families = list(dict.fromkeys(entry.family for entry in known))
    ordered = sorted(known, key=lambda entry: (families.index(entry.family), ablates(entry)))
    for family, members in groupby(ordered, key=lambda entry: entry.family):
        yield family
        for entry in members:
            if entry.name not in listed:
                yield from with_ablations(entry)


def ablates(entry: Entry) -> bool:
    """Say whether an experiment is an ablation of another."""
    return entry.name.startswith("ablations.")


def short(entry: Entry) -> str:
    """Return the part of an experiment's name that is enough to call it by."""
    return entry.name.removeprefix("ablations.")
