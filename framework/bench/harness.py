"""Timing several ways of doing the same work fairly: in turns, on the same machine, after a check that they agree.

A machine that others use too runs now faster, now slower. So contenders are not timed one after another: in every round
each has a turn, in an order that rotates, and is compared with the baseline of that very round. What is reported is the
median of these ratios, and the least and the greatest of them.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from framework.errors import OstinatoError
from framework.progress import Progress


class BenchError(OstinatoError, ValueError):
    """Contenders do not agree, or a contest cannot be held; the message says in one line why."""


@dataclass(frozen=True)
class Contender:
    """One way of doing the work.

    Attributes:
        name: As the table calls it.
        run: Does some of the work, for 0.1 to 1 s, and returns how many units of it. It returns when the work is done:
            on a GPU, after synchronising.
    """

    name: str
    run: Callable[[], float]


@dataclass(frozen=True)
class Contest:
    """Several ways of doing the same work.

    Attributes:
        title: What is done.
        unit: What is counted, in the plural: `clips`.
        baseline: Name of the contender with which the others are compared.
        contenders: All of them.
        check: Raises `BenchError` unless all contenders agree; returns a line that says to what tolerance they do.
        notes: What a reader has to know of the conditions.
        memory: Whether the peak of allocated memory is of interest.
        also: Other units of the same work, and how many of each are in one of `unit`.
    """

    title: str
    unit: str
    baseline: str
    contenders: tuple[Contender, ...]
    check: Callable[[], str]
    notes: str = ""
    memory: bool = False
    also: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """What was measured of a contender.

    Attributes:
        name: The contender's.
        rate: Units in a second, median over the rounds.
        ratio: Median over the rounds of its rate divided by the baseline's in the same round.
        low: The least of these.
        high: The greatest.
        peak: Bytes allocated at the most, beyond those before; None where that is not asked.
    """

    name: str
    rate: float
    ratio: float
    low: float
    high: float
    peak: int | None = None


@dataclass(frozen=True)
class Result:
    """What a contest gave; `checked` is the check's line."""

    title: str
    unit: str
    baseline: str
    checked: str
    notes: str
    also: dict[str, float]
    rounds: int
    seconds: float
    rows: tuple[Row, ...]


def hold(
    contest: Contest,
    rounds: int = 5,
    seconds: float = 1.0,
    *,
    clock: Callable[[], float] = time.perf_counter,
    peak: Callable[[Callable[[], float]], int] | None = None,
) -> Result:
    """Check that the contenders agree, let each run once to warm up, and time them.

    Args:
        contest: What to compare.
        rounds: How many turns each contender has.
        seconds: How long a turn lasts at least: `run` is called until then, and once in any case.
        clock: Seconds from any origin.
        peak: Measures the bytes that a run allocates, for contests where that is of interest.

    Raises:
        BenchError: the contenders do not agree, or none of them is the baseline.
    """
    names = [contender.name for contender in contest.contenders]
    if names.count(contest.baseline) != 1 or len(set(names)) != len(names):
        raise BenchError(f"{contest.title}: one of {', '.join(names)} must be the baseline {contest.baseline!r}")
    rates: dict[str, list[float]] = {name: [] for name in names}
    with Progress(contest.title, (rounds + 1) * len(names), "turns") as shown:
        shown.note("checking that all agree")
        try:
            checked = contest.check()
        except BenchError as error:
            raise BenchError(f"{contest.title}: {error}") from None
        for contender in contest.contenders:
            shown.note(f"{contender.name}, warming up")
            contender.run()
            shown.update()
        for number in range(rounds):
            first = number % len(names)
            for contender in contest.contenders[first:] + contest.contenders[:first]:
                shown.note(contender.name)
                rates[contender.name].append(_turn(contender, seconds, clock))
                shown.update()
    rows = []
    for contender in contest.contenders:
        own, theirs = rates[contender.name], rates[contest.baseline]
        ratios = [rate / base for rate, base in zip(own, theirs, strict=True)]
        bytes_ = peak(contender.run) if peak and contest.memory else None
        middle = statistics.median(ratios)
        rows.append(Row(contender.name, statistics.median(own), middle, min(ratios), max(ratios), bytes_))
    return Result(
        contest.title,
        contest.unit,
        contest.baseline,
        checked,
        contest.notes,
        contest.also,
        rounds,
        seconds,
        tuple(rows),
    )


def _turn(contender: Contender, seconds: float, clock: Callable[[], float]) -> float:
    """Return the units of work in a second."""
    begin, units = clock(), 0.0
    while True:
        units += contender.run()
        elapsed = clock() - begin
        if elapsed >= seconds and elapsed > 0:
            return units / elapsed
