"""`ostinato list`: every experiment, its one-line summary and what it changes against its parent."""

from framework.catalogue import entries


def run(arguments: list[str]) -> None:
    """Print the experiments whose name contains the first argument, or all.

    Raises:
        ValueError: when none does.
    """
    wanted = arguments[0] if arguments else ""
    found = [entry for entry in entries() if wanted in entry.name]
    if not found:
        raise ValueError(f"no experiment's name contains {wanted!r}: `ostinato list` shows all")
    for entry in found:
        print(f"{entry.name}  ({entry.parent})\n    {entry.summary}")
        for change in entry.changes:
            print(f"        {change}")
