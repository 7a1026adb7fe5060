"""Runs benchmarks: several implementations of the same work are timed in turns, after a check that they agree.

The speed of a shared machine varies over time. In every round, each candidate therefore has one turn, in rotating
order, and its rate is divided by the baseline's rate of the same round. Reported are the median, the minimum and the
maximum of these ratios.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from framework.errors import OstinatoError
from framework.progress import Progress


class BenchError(OstinatoError, ValueError):
    """A benchmark cannot run, or its candidates do not agree."""


@dataclass(frozen=True)
class Candidate:
    """One implementation of the work.

    Attributes:
        name: Name in the table.
        run: Function that works for 0.1 to 1 s and returns the number of units done. On a GPU it synchronises before it
            returns.
    """

    name: str
    run: Callable[[], float]


@dataclass(frozen=True)
class Benchmark:
    """Several implementations of the same work.

    Attributes:
        title: Title of the table.
        unit: Unit of the work, in the plural, such as `clips`.
        baseline: Name of the candidate that the others are compared with.
        candidates: The implementations, including the baseline.
        check: Raises `BenchError` if the candidates do not agree; returns a sentence with the tolerance.
        notes: Conditions of the measurement, for the reader.
        memory: Whether to measure the peak of allocated memory.
        also: Other units of the same work, with the number of them in one `unit`.
    """

    title: str
    unit: str
    baseline: str
    candidates: tuple[Candidate, ...]
    check: Callable[[], str]
    notes: str = ""
    memory: bool = False
    also: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """Measurements of one candidate.

    Attributes:
        name: Name of the candidate.
        rate: Units per second, median over the rounds.
        ratio: Median over the rounds of its rate divided by the baseline's rate in the same round.
        low: Minimum of these ratios.
        high: Maximum of these ratios.
        peak: Peak of allocated memory (bytes) beyond the memory allocated before; None if it was not measured.
    """

    name: str
    rate: float
    ratio: float
    low: float
    high: float
    peak: int | None = None


@dataclass(frozen=True)
class Result:
    """Results of a benchmark; `checked` is the sentence that its check returned."""

    title: str
    unit: str
    baseline: str
    checked: str
    notes: str
    also: dict[str, float]
    rounds: int
    seconds: float
    rows: tuple[Row, ...]


def run_benchmark(
    benchmark: Benchmark,
    rounds: int = 5,
    seconds: float = 1.0,
    *,
    clock: Callable[[], float] = time.perf_counter,
    peak: Callable[[Callable[[], float]], int] | None = None,
) -> Result:
    """Check that the candidates agree, run each once to warm up, and time them.

    Args:
        benchmark: The benchmark.
        rounds: Number of turns of each candidate.
        seconds: Shortest duration of a turn: `run` is called at least once, and until this time has passed.
        clock: Function that returns seconds since any origin.
        peak: Function that measures the bytes that a run allocates, for benchmarks with `memory`.

    Raises:
        BenchError: the candidates do not agree, or the baseline is not one of them.
    """
    names = [candidate.name for candidate in benchmark.candidates]
    if names.count(benchmark.baseline) != 1 or len(set(names)) != len(names):
        raise BenchError(f"{benchmark.title}: one of {', '.join(names)} must be the baseline {benchmark.baseline!r}")
    rates: dict[str, list[float]] = {name: [] for name in names}
    with Progress(benchmark.title, (rounds + 1) * len(names), "turns") as shown:
        shown.note("checking that all agree")
        try:
            checked = benchmark.check()
        except BenchError as error:
            raise BenchError(f"{benchmark.title}: {error}") from None
        for candidate in benchmark.candidates:
            shown.note(f"{candidate.name}, warming up")
            candidate.run()
            shown.update()
        for number in range(rounds):
            first = number % len(names)
            for candidate in benchmark.candidates[first:] + benchmark.candidates[:first]:
                shown.note(candidate.name)
                rates[candidate.name].append(_turn(candidate, seconds, clock))
                shown.update()
    rows = []
    for candidate in benchmark.candidates:
        own, theirs = rates[candidate.name], rates[benchmark.baseline]
        ratios = [rate / base for rate, base in zip(own, theirs, strict=True)]
        bytes_ = peak(candidate.run) if peak and benchmark.memory else None
        middle = statistics.median(ratios)
        rows.append(Row(candidate.name, statistics.median(own), middle, min(ratios), max(ratios), bytes_))
    return Result(
        benchmark.title,
        benchmark.unit,
        benchmark.baseline,
        checked,
        benchmark.notes,
        benchmark.also,
        rounds,
        seconds,
        tuple(rows),
    )


def _turn(candidate: Candidate, seconds: float, clock: Callable[[], float]) -> float:
    """Run a candidate for a turn and return its units per second."""
    begin, units = clock(), 0.0
    while True:
        units += candidate.run()
        elapsed = clock() - begin
        if elapsed >= seconds and elapsed > 0:
            return units / elapsed
