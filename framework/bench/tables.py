"""Formats results of benchmarks as text and as Markdown, and stores them in docs/benchmarks.md."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from framework.bench.harness import Result, Row

_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))
HEADING = """\
# Benchmarks

Each section was written by the command it names; `ostinato bench` lists all benchmarks, and any can be repeated.
In every round each candidate has one turn, in rotating order. The ratio is a candidate's rate divided by the baseline's
rate in the same round: the median over the rounds, with the minimum and the maximum in brackets. Before anything is
timed, a check compares the outputs of all candidates.
"""


def text(result: Result) -> str:
    """Return a result as a table for a terminal, with title, check and notes."""
    lines = _columns(result)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    table = [
        "  ".join(
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join([result.title, *(f"  {line}" for line in table), *(f"  {line}" for line in _remarks(result))])


def markdown(result: Result) -> str:
    """Return a result as a Markdown section of the third level."""
    head, *rows = _columns(result)
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"### {result.title}", table, *_remarks(result)])


def section(name: str, summary: str, facts: dict[str, Any], command: str, date: str, results: Sequence[Result]) -> str:
    """Return the Markdown section of a bench module: summary, command, machine and results."""
    machine = ", ".join(f"{key}: {value}" for key, value in facts.items())
    made = f"`{command}`, {date}; {machine}."
    return "\n\n".join([f"## {name}", summary, made, *map(markdown, results)]) + "\n"


def keep(document: Path, name: str, written: str) -> None:
    """Insert a section into the document, replacing its former version; sections are sorted alphabetically."""
    former = document.read_text() if document.exists() else ""
    parts = re.split(r"^(?=## )", former, flags=re.MULTILINE)[1:]
    sections = {part.partition("\n")[0].removeprefix("## "): part.strip() + "\n" for part in parts}
    sections[name] = written
    document.parent.mkdir(parents=True, exist_ok=True)
    document.write_text("\n".join([HEADING, *(sections[key] for key in sorted(sections))]))


def _columns(result: Result) -> list[list[str]]:
    """Return the cells of the table, row by row, starting with the header."""
    memory = any(row.peak is not None for row in result.rows)
    head = ["", f"{result.unit}/s", *(f"{unit}/s" for unit in result.also), f"ratio to {result.baseline}"]
    return [head + ["peak MiB"] * memory, *(_cells(row, result, memory) for row in result.rows)]


def _cells(row: Row, result: Result, memory: bool) -> list[str]:
    rates = [number(row.rate * factor) for factor in (1.0, *result.also.values())]
    ratio = "1" if row.name == result.baseline else f"{row.ratio:.3g} [{row.low:.3g} .. {row.high:.3g}]"
    peak = [f"{(row.peak or 0) / 2**20:.1f}"] if memory else []
    return [row.name, *rates, ratio, *peak]


def _remarks(result: Result) -> list[str]:
    rounds = f"{result.rounds} rounds of {result.seconds:g} s a turn."
    return [f"Checked: {result.checked}", *([result.notes] if result.notes else []), rounds]


def number(value: float) -> str:
    """Format a number with three significant digits and an SI prefix."""
    for factor, prefix in _PREFIXES:
        if value >= 0.9995 * factor:
            return f"{_digits(value / factor)} {prefix}"
    return _digits(value)


def _digits(value: float) -> str:
    return f"{value:.3g}" if value < 99.95 else f"{value:.0f}"
