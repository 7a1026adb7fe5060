"""`ostinato runs`: all runs with their state, their last step and their metric, read from their folders."""

import sys
import time
from pathlib import Path
from typing import Any

from framework.errors import InvalidValueError
from framework.runs.finding import Listed, list_runs
from framework.workflow.command import Command, runs_argument


class Runs(Command):
    """List all runs: experiment, identity, seed, last step of those planned, state, newest value of the metric that the
    best checkpoint is chosen by, time of the last change, and the values that differ from the experiment's. With PART,
    list those of the experiments whose name contains it.
    """

    group = "training"
    takes = "[PART]"
    summary = "list runs with their state, step and metric"
    examples = ("ostinato runs", "ostinato runs hifigan --runs elsewhere")

    def add_arguments(self, parser: Any) -> None:
        """Add the arguments."""
        part = "Part of the names of experiments to list."
        parser.add_argument("part", type=str, nargs="?", metavar="PART", help=part)
        runs_argument(parser)

    def run(self, settings: Any) -> None:
        """Print a line for each run, or for those of the experiments whose name contains a part.

        Raises:
            InvalidValueError: there is none.
        """
        own = settings
        found = [one for one in list_runs(own.runs) if not own.part or own.part in f"{one.experiment}/{one.signature}"]
        if not found:
            of = f" of {own.part!r}" if own.part else ""
            raise InvalidValueError(
                f"no run{of} in {own.runs}/: `ostinato fit NAME` trains one; --runs names another folder"
            )
        for line in table(found):
            print(line)
        for one in found:
            if one.damage:
                print(f"warning: {one.damage}", file=sys.stderr)
        shortest = name_below(found[-1].folder.path, own.runs)
        counted = "1 run" if len(found) == 1 else f"{len(found)} runs"
        print(f"\n{counted} in {own.runs}/; a command takes one by its name, as `ostinato evaluate {shortest}`")


def table(runs: list[Listed]) -> list[str]:
    """Return the list of runs as lines of aligned columns."""
    rows = [("experiment", "run", "seed", "steps", "state", "metric", "value", "last change", "given values")]
    for run in runs:
        of = f"/{run.planned}" if run.planned > 0 else ""
        rows.append(
            (
                named(run),
                run.signature,
                "-" if run.seed is None else str(run.seed),
                f"{run.step}{of}",
                run.state,
                run.metric.removeprefix("validation/") or "-",
                "-" if run.value is None else f"{run.value:.4g}",
                time.strftime("%Y-%m-%d %H:%M", time.localtime(run.changed)),
                " ".join(f"{name.rpartition('.')[2]}={shown(value)}" for name, value in run.changes.items()) or "-",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def named(run: Listed) -> str:
    """Return the experiment's name, with the class where that is not the module's name in another spelling."""
    short = run.experiment.removeprefix("ablations.")
    same = short.rpartition(".")[2].replace("_", "").lower() == run.system.lower()
    return short if same or not run.system else f"{short}.{run.system}"


def shown(value: Any) -> str:
    """Return a value without blanks."""
    return str(value).replace(" ", "")


def name_below(path: Path, root: str) -> str:
    """Return the shortest path that a command takes for a run."""
    return str(path.relative_to(root)) if root == "runs" else str(path)
