"""Formats the results of listening tests: for the terminal, as Markdown, and as `listening.json`."""

import json
import math
from pathlib import Path
from typing import Any

from framework.evaluation.statistics import Difference
from framework.evaluation.table import number, shown
from framework.listening.bradley_terry import Strengths
from framework.listening.results import Figure, Result
from framework.writing import write_atomically

VERSION = 2
"""Version 1 had no differences, and its intervals treated the ratings of one listener as independent."""

FILE = "listening.json"
TITLES = {"mushra": "MUSHRA", "mushra_1s": "MUSHRA 1S", "mos": "MOS", "dcr": "DMOS", "ab": "Preference"}
OVER = "95 % interval over listeners and clips (crossed random effects; Student's t where each listener rated once)"
METHODS = {
    "mushra": f"mean of 0 to 100 with its {OVER}",
    "mushra_1s": f"mean of 0 to 100, one sound at a time, with its {OVER}",
    "mos": f"mean of 1 to 5 with its {OVER}",
    "dcr": f"mean degradation category of 1 (very annoying) to 5 (inaudible) with its {OVER}",
    "ab": "part of the votes with a preference; 95 % interval and test are Clopper and Pearson's of as many "
    "independent votes as its variance over listeners and clips amounts to, p no smaller than of a sign-flip test "
    "over listeners (where each listener answered once: exact binomial), corrected by Holm",
}


def listening_table(results: list[Result]) -> str:
    """Return the results for a terminal: a block for each test with a row for each column."""
    lines = []
    for result in results:
        lines += [summary(result), *aligned([row(result, figure) for figure in result.figures])]
        lines += [*further(result), *(f"note: {remark}" for remark in result.remarks), ""]
    return "\n".join(lines).rstrip()


def listening_markdown(results: list[Result]) -> str:
    """Return the results as a Markdown document."""
    parts = ["# Listening tests"]
    for result in results:
        last = "test" if result.plan.kind == "ab" else "deviation"
        rows = [["", "mean [95 %]", "of", last], ["---"] * 4]
        rows += [row(result, figure) for figure in result.figures]
        table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in rows)
        parts += [f"## {TITLES[result.plan.kind]}", f"{summary(result)}.", table]
        parts += ["\n".join(f"* {line}" for line in (*further(result), *result.remarks))]
    return "\n\n".join(parts) + "\n"


def listening_values(results: list[Result]) -> dict[str, Any]:
    """Return the results as JSON values; NaN becomes None."""
    return {"version": VERSION, "tests": {result.plan.kind: values(result) for result in results}}


def write_results(results: list[Result], folder: Path) -> None:
    """Write `listening.json` and `listening.md` into a comparison's folder."""
    text = json.dumps(listening_values(results), indent=1, allow_nan=False) + "\n"
    write_atomically(folder / FILE, text)
    write_atomically(folder / "listening.md", listening_markdown(results))


def summary(result: Result) -> str:
    """Return one line with the kind of test, the numbers of listeners and clips, and the method."""
    plan = result.plan
    against = f" to {plan.baseline}" if plan.kind == "ab" else ""
    return (
        f"{TITLES[plan.kind]}{against}: {counted(result.listeners, 'listener')}, {result.finished} of them finished, "
        f"{counted(len(plan.clips), 'clip')}; {METHODS[plan.kind]}"
    )


def further(result: Result) -> list[str]:
    """Return lines on the ranks and strengths of the systems, and on the agreement of the listeners."""
    lines = []
    if result.strengths is not None and result.listeners:
        lines.append(result.strengths.remark or strengths_line(result.strengths))
    if result.listeners and len(result.ranks) > 1:
        ranks = [f"{system} {low if low == high else f'{low}-{high}'}" for system, (low, high) in result.ranks.items()]
        lines.append(f"possible ranks (95 % for all of them together): {', '.join(ranks)}")
    if not math.isnan(result.alpha):
        lines.append(f"agreement of the listeners: Krippendorff's alpha {number(result.alpha)}")
    return lines


def strengths_line(found: Strengths) -> str:
    """Return the strengths of the systems of an A/B test, with the probability of a tie between equal ones."""
    systems = [f"{system} {shown(interval)}" for system, interval in found.intervals.items()]
    ties = f"; {found.ties / (2 + found.ties):.0%} ties between equal systems" if found.ties else ""
    title = "Bradley-Terry strengths (log-odds, mean 0; 95 % interval over listeners and clips)"
    return f"{title}: {', '.join(systems)}{ties}"


def row(result: Result, figure: Figure) -> list[str]:
    """Return the cells of a column: name, mean, numbers of ratings and listeners, and spread over listeners."""
    told = [figure.column, shown(figure.interval)]
    if result.plan.kind == "ab":
        votes = f"{counted(figure.interval.count, 'vote')} of {counted(figure.listeners, 'listener')}, "
        told.append(f"{votes}{figure.ties} more without preference")
        p = f"p {figure.p:.2g}, corrected {figure.p_corrected:.2g}{' *' if figure.p_corrected < 0.05 else ''}"
        return [*told, "" if math.isnan(figure.p) else p]
    told.append(f"{counted(figure.interval.count, 'rating')} of {counted(figure.listeners, 'listener')}")
    return [*told, "" if math.isnan(figure.spread) else f"\N{PLUS-MINUS SIGN} {number(figure.spread)} over listeners"]


def values(result: Result) -> dict[str, Any]:
    """Return a result as plain values."""
    plan = result.plan
    return {
        "test": plan.id,
        "method": METHODS[plan.kind],
        "listeners": result.listeners,
        "finished": result.finished,
        "remarks": result.remarks,
        "made_of": plan.made_of,
        "figures": [figure_values(figure, plan.kind) for figure in result.figures],
        "ranks": {system: list(ends) for system, ends in result.ranks.items()},
        "krippendorff_alpha": plain(result.alpha),
        **({} if result.strengths is None else {"bradley_terry": strengths_values(result.strengths)}),
    }


def strengths_values(found: Strengths) -> dict[str, Any]:
    """Return the strengths of the systems of an A/B test as plain values."""
    return {
        "strengths": {
            system: {name: plain(getattr(interval, name)) for name in ("mean", "low", "high")}
            for system, interval in found.intervals.items()
        },
        "differences": [[*pair, difference_values(difference)] for pair, difference in found.differences.items()],
        "ties": plain(found.ties),
        "remark": found.remark,
    }


def figure_values(figure: Figure, kind: str) -> dict[str, Any]:
    """Return a column's figure as plain values."""
    ends = {name: plain(getattr(figure.interval, name)) for name in ("mean", "low", "high")}
    found: dict[str, Any] = {
        "column": figure.column,
        **ends,
        "ratings": figure.interval.count,
        "listeners": figure.listeners,
    }
    found |= {"deviation_over_listeners": plain(figure.spread), "clips": figure.clips}
    found["differences"] = {other: difference_values(found) for other, found in figure.differences.items()}
    if kind == "ab":
        found |= {"ties": figure.ties, "p": plain(figure.p), "p_corrected": plain(figure.p_corrected)}
    return found


def difference_values(difference: Difference) -> dict[str, Any]:
    """Return a difference as plain values."""
    ends = {name: plain(getattr(difference, name)) for name in ("mean", "low", "high", "p")}
    return ends | {"ratings": difference.count}


def plain(value: float) -> float | None:
    """Return a number, or None for NaN."""
    return float(value) if math.isfinite(value) else None


def counted(count: int, thing: str) -> str:
    """Return a count with its noun, in the plural if needed."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines with aligned cells."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return ["  " + "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip() for cells in rows]
