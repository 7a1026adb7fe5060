"""Sweeps on a terminal: the plan, the live table, the failures."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from datamodules.streaming.bad_clips import BadClips
from framework.runs.stored_files import DamagedFileError
from framework.sweeps.record import PlannedRun, progress

COLOURS = {
    "finished": "green", "running": "cyan", "failed": "red", "damaged": "red", "stopping": "yellow",
    "elsewhere": "magenta",
}  # fmt: skip
FIRST = ("running", "stopping", "pausing", "elsewhere", "failed", "damaged")


def progress_table(runs: Sequence[PlannedRun], states: Mapping[str, str], height: int | None = None) -> Group:
    """Return a table of runs with their states by signature; with a height, those that nothing happens to are cut."""
    shown = list(runs)
    if height is not None and len(shown) > height:
        shown = sorted(shown, key=lambda run: states[run.signature] not in FIRST)[:height]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "state"):
        table.add_column(heading, overflow="fold")
    for heading in ("step", "of", "s/step", "metric", "left"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run in shown:
        state = states[run.signature]
        how_far = progress(run)
        left = max(run.max_steps - how_far.step, 0) * (how_far.seconds_per_step or 0.0)
        table.add_row(
            run.label,
            Text(state, style=COLOURS.get(state.partition(" ")[0], "")),
            str(how_far.step),
            str(run.max_steps),
            "" if how_far.seconds_per_step is None else f"{how_far.seconds_per_step:.3g}",
            "" if how_far.metric is None else f"{how_far.metric:.4g}",
            duration(left / 3600) if left and state != "finished" else "",
        )
    counts = Counter(state.partition(" ")[0] for state in states.values())
    total = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    monitors = sorted({run.monitor for run in runs})
    cut = f" ({len(runs) - len(shown)} not shown)" if len(shown) < len(runs) else ""
    return Group(table, Text(f"{len(runs)} runs: {total}{cut}; metric: {', '.join(monitors)}", style="dim"))


def plan_table(runs: Sequence[PlannedRun], states: Mapping[str, str], costs: Mapping[str, tuple[str, str]]) -> Table:
    """Return the table of a plan: runs with state, steps, cost, where that is known from, and folder."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("cost", justify="right", no_wrap=True)
    table.add_column("known from", overflow="fold")
    table.add_column("folder", overflow="fold")
    for run in runs:
        state = states[run.signature]
        what = Text(state, style=COLOURS.get(state, ""))
        cost, source = costs[run.signature]
        notes = "; ".join(filter(None, (source if cost not in ("", "unknown") else "", run.note)))
        table.add_row(run.label, what, str(run.max_steps), cost, notes, str(run.path))
    return table


def print_failures(console: Console, failed: Sequence[tuple[PlannedRun, str, list[str]]]) -> None:
    """Print the runs that failed, why, and the last lines of their logs."""
    for run, reason, lines in failed:
        console.print(Text(f"\n{run.label} failed: {reason}", style="red"), soft_wrap=True)
        for line in lines:
            console.print(Text(f"    {line}"), soft_wrap=True)
        console.print(Text(f"    whole log: {run.log}"), soft_wrap=True)


def print_damages(console: Console, runs: Sequence[PlannedRun]) -> None:
    """Print which files of runs are damaged, and what to do."""
    for run in runs:
        for damage in run.folder.damages():
            console.print(Text(f"{run.label}: {damage}", style="red"), soft_wrap=True)


def print_lost_held_out(console: Console, runs: Sequence[PlannedRun]) -> None:
    """Print of which finished runs held-out clips could not be used, and which clips."""
    for run in runs:
        try:
            lost = BadClips(0, 0.0, (run.folder.summary() or {}).get("lost_held_out"))
        except DamagedFileError:
            continue
        if lost.found:
            console.print(Text(f"{run.label}: {lost.lost_held_out}"), soft_wrap=True)


def duration(hours: float) -> str:
    """Return a duration in hours as text."""
    if hours < 1 / 60:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 1 else f"{hours:.1f} h" if hours < 48 else f"{hours / 24:.1f} days"
