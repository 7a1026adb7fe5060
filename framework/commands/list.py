"""`ostinato list`: every experiment by family, and every sweep, in a line; with a part of a name, what each changes."""

from collections.abc import Iterator
from itertools import groupby

from framework.catalogue import Entry, entries
from framework.errors import InvalidValueError
from framework.sweeps.find import sweep_modules
from framework.workflow import usage


def run(arguments: list[str]) -> None:
    """Print all experiments, or those whose name contains the first argument with what they change.

    Raises:
        ValueError: when none does.
    """
    part = usage.parser("list").parse_args(arguments).part
    known = entries()
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


def sweep_lines() -> list[str]:
    """Return a line for each sweep: its name and its question."""
    known = {name.removeprefix("ablations."): question for name, question in sweep_modules().items()}
    return [f"  {name:{max(map(len, known))}}  {question}" for name, question in known.items()]


def ablates(entry: Entry) -> bool:
    """Say whether an experiment is an ablation of another."""
    return entry.name.startswith("ablations.")


def short(entry: Entry) -> str:
    """Return the part of an experiment's name that is enough to call it by."""
    return entry.name.removeprefix("ablations.")
