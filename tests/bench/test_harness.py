"""Benchmarks with known results, timed with a simulated clock that the candidates advance."""

import json

import pytest

from framework.bench.harness import BenchError, Benchmark, Candidate, run_benchmark
from framework.bench.machine import peak_memory
from framework.bench.running import benches
from framework.bench.tables import keep, markdown, number, text
from framework.cli import main


class Clock:
    """Time passes by work alone; after every third turn the machine is slower by one."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def candidate(self, name, cost, units=1.0):
        def run():
            self.order.append(name)
            self.now += cost * units * (1 + (len(self.order) - 1) // 3)
            return units

        return Candidate(name, run)

    def __call__(self):
        return self.now


def benchmark(candidates, **more):
    return Benchmark("Copying", "clips", "slow", tuple(candidates), lambda: "equal", **more)


def test_ratios_are_those_of_the_same_round_however_the_machine_changes():
    clock = Clock()
    made = [clock.candidate(*c) for c in (("slow", 4.0), ("fast", 0.5), ("faster", 0.25))]
    result = run_benchmark(benchmark(made), rounds=4, seconds=0.0, clock=clock)
    assert [(row.ratio, row.low, row.high) for row in result.rows] == [(1, 1, 1), (8, 8, 8), (16, 16, 16)]
    slow_rates = [1 / (4.0 * slowness) for slowness in (2, 3, 4, 5)]
    assert result.rows[0].rate == pytest.approx((slow_rates[1] + slow_rates[2]) / 2)
    assert result.checked == "equal"


def test_order_rotates_and_every_one_is_warmed_up():
    clock = Clock()
    run_benchmark(
        benchmark(clock.candidate(name, 1) for name in ("slow", "b", "c")), rounds=4, seconds=0.0, clock=clock
    )
    rounds = [clock.order[n : n + 3] for n in range(0, len(clock.order), 3)]
    assert rounds[0] == ["slow", "b", "c"], "warm-up"
    assert rounds[1:] == [["slow", "b", "c"], ["b", "c", "slow"], ["c", "slow", "b"], ["slow", "b", "c"]]


def test_median_and_range_over_rounds_and_turns_of_a_given_length():
    now, runs = 0.0, []

    def run(name, cost):
        def work():
            nonlocal now
            runs.append(name)
            now += cost()
            return 10.0

        return Candidate(name, work)

    # Each first run warms up and is not timed; then there are three turns of 2 s, of 2, 4 and 8 runs of the faster one.
    costs = {"slow": iter([9, 2, 2, 2]), "fast": iter([9, *[1] * 2, *[0.5] * 4, *[0.25] * 8])}
    made = [run(name, lambda name=name: next(costs[name])) for name in costs]
    result = run_benchmark(benchmark(made), rounds=3, seconds=2.0, clock=lambda: now)
    slow, fast = result.rows
    assert (slow.rate, fast.rate) == (5, 20)
    assert (fast.ratio, fast.low, fast.high) == (4, 2, 8)
    assert runs.count("slow") == 1 + 3
    assert runs.count("fast") == 1 + 2 + 4 + 8


def test_those_who_disagree_are_not_timed(monkeypatch, tmp_path, capsys):
    ran = []

    def check():
        raise BenchError("fast differs from slow by 3 in clip 7")

    def benchmarks(peers):
        yield Benchmark("Copying", "clips", "slow", (Candidate("slow", lambda: ran.append(0) or 1.0),), check)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("framework.bench.data.benchmarks", benchmarks)
    assert main(["bench", "data", "--save"]) == 2
    out, err = capsys.readouterr()
    assert "fast differs from slow by 3 in clip 7" in err
    assert not ran
    assert "clips/s" not in out
    assert not list(tmp_path.rglob("*"))


def test_the_command_prints_and_writes_what_it_measured(monkeypatch, tmp_path, capsys):
    peers_seen = []

    def benchmarks(peers):
        peers_seen.append(peers)
        made = (Candidate("slow", lambda: 1.0), Candidate("fast", lambda: 3.0))
        yield Benchmark("Copying", "clips", "slow", made, lambda: "bit by bit", "In memory.", True, {"MB": 0.5})

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("framework.bench.data.benchmarks", benchmarks)
    command = ["bench", "data", "--rounds", "2", "--seconds", "0.001", "--peer", f"them={tmp_path}", "--save"]
    assert main(command) == 0
    out = capsys.readouterr().out
    record = json.loads((tmp_path / "runs/bench/data.json").read_text())
    assert peers_seen == [{"them": tmp_path}]
    assert [row["name"] for row in record["contests"][0]["rows"]] == ["slow", "fast"]
    assert "processor" in record["machine"]
    document = (tmp_path / "docs/benchmarks.md").read_text()
    for place in (out, document, (tmp_path / "runs/bench/data.md").read_text()):
        assert all(words in place for words in ("bit by bit", "MB/s", "peak MiB", "In memory.", "2 rounds", "torch"))
    assert "ostinato bench data --rounds 2 --seconds 0.001 --peer them=DIR --save" in document
    assert str(tmp_path) not in document


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dta"], "no benchmark 'dta': did you mean data"),
        (["data", "--peer", "x=/nowhere"], "expected NAME=DIR"),
        (["data", "--rounds", "0"], "at least 1"),
        (["data", "--sconds", "1"], "--sconds"),
    ],
)
def test_mistakes_are_answered_in_a_line(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_benches_are_listed_with_their_first_lines(capsys):
    assert main(["bench"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == sorted(benches())
    assert all(len(line.split()) > 3 for line in lines)


def test_sections_are_replaced_and_sorted(tmp_path):
    document = tmp_path / "docs" / "benchmarks.md"
    for name, written in (("b", "## b\n\nold\n"), ("a", "## a\n\n### x\n\nfirst\n"), ("b", "## b\n\nnew\n")):
        keep(document, name, written)
    found = document.read_text()
    assert found.startswith("# Benchmarks\n")
    assert found.endswith("## a\n\n### x\n\nfirst\n\n## b\n\nnew\n")


def test_tables():
    clock = Clock()
    made = [clock.candidate(name, cost) for name, cost in (("slow", 1.0), ("fast", 0.001))]
    result = run_benchmark(benchmark(made, also={"audio-seconds": 7.5}), rounds=1, seconds=0.0, clock=clock)
    assert "| fast |" in markdown(result)
    assert "audio-seconds/s" in text(result)
    assert [number(value) for value in (0.01234, 1.5, 99.96, 999.4, 999.6, 87_633, 2.5e9)] == [
        "0.0123", "1.5", "100", "999", "1 k", "87.6 k", "2.5 G"
    ]  # fmt: skip


def test_peak_memory_of_a_run():
    import torch

    def work():
        first = torch.zeros(1000, 1000)
        second = first + 1
        del first
        third = second * 2
        return float(third[0, 0])

    kept = torch.zeros(1000)
    assert 8_000_000 <= peak_memory(work) < 8_100_000
    assert kept.shape == (1000,)
