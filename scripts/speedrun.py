"""Print quality over training time of the finished runs of a sweep: the table of docs/speedrun.md.

Each row is a length of training: the mean over its seeds, with Student's 95 % interval over them if there are several.

ostinato sweep vocoder_speedrun --jobs 2
python scripts/speedrun.py vocoder_speedrun
"""

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from framework.evaluation.statistics import student
from framework.runs.folder import RunFolder
from framework.sweeps.find import find_sweep
from framework.sweeps.plan import make_plan
from framework.sweeps.record import PlannedRun

METRICS = {"log_mel_error": "log-mel error ↓", "stft_distance": "MR-STFT distance ↓"}


def main() -> None:
    """Print the table that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", nargs="?", default="vocoder_speedrun", help="Name of the sweep.")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="Folder of all runs.")
    arguments = parser.parse_args()
    name, sweep, question = find_sweep(arguments.sweep)
    plan = make_plan(name, sweep, ["--runs", str(arguments.runs)], question)
    print(table((run, RunFolder(run.path).summary()) for run in plan.runs))


def table(runs: Iterable[tuple[PlannedRun, Mapping[str, Any] | None]]) -> str:
    """Return a Markdown table of the finished runs, with a row for each experiment and length.

    Args:
        runs: Runs with what `summary.json` says of them; None for those that were not started.
    """
    rows: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for run, summary in runs:
        if summary is not None and summary.get("state") == "finished" and summary.get("clips"):
            rows.setdefault((run.experiment, run.max_steps), []).append(summary)
    lines = [f"| system | steps | minutes | seeds | {' | '.join(METRICS.values())} |"]
    lines.append("| --- | ---: | ---: | ---: |" + " ---: |" * len(METRICS))
    for (experiment, steps), summaries in rows.items():
        minutes = sum(summary["minutes"] for summary in summaries) / len(summaries)
        cells = [f"`{experiment}`", f"{steps:,}", f"{minutes:.1f}", str(len(summaries))]
        cells += [with_interval([mean_of(summary, metric) for summary in summaries]) for metric in METRICS]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def mean_of(summary: Mapping[str, Any], metric: str) -> float:
    """Return the mean of a metric over the held-out clips of a run."""
    values = [columns["system"][metric] for columns in summary["clips"].values()]
    return sum(values) / len(values)


def with_interval(values: list[float]) -> str:
    """Return the mean of one value for each seed, with the interval in which the mean over all seeds lies."""
    found = student(values)
    return f"{found.mean:.3f}" if len(values) < 2 else f"{found.mean:.3f} ± {found.high - found.mean:.3f}"


if __name__ == "__main__":
    main()
