"""Exports a comparison for a paper: a LaTeX table, CSV files, and a paragraph that describes the method."""

import csv
import importlib.metadata
import io
from typing import Any

from framework.evaluation.columns import run_folder_of
from framework.evaluation.comparison import METHOD, Comparison, MetricValue
from framework.evaluation.comparison_table import METHOD_MARK, comparison_values, title
from framework.evaluation.table import number
from framework.runs.stored_files import DamagedFileError, RunError

_SPECIAL = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}"}
_SPECIAL |= {"^": r"\textasciicircum{}", "↑": r"$\uparrow$", "↓": r"$\downarrow$", METHOD_MARK: r"\dag{}"}
LIBRARIES = ("torch", "lightning", "torchaudio", "numpy", "scipy")


def comparison_tex(comparison: Comparison) -> str:
    """Return the comparison as a table for LaTeX with booktabs: a row a run, a column a metric.

    Means have their 95 % intervals below them. The marks are those of `ostinato compare`.
    """
    metrics = comparison.metrics
    lines = [
        r"% \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'c' * len(metrics)}}}",
        r"\toprule",
        " & ".join(["", *(_escaped(title(described)) for described in metrics.values())]) + r" \\",
        r"\midrule",
    ]
    for column in comparison.columns:
        scores = [comparison.scores[metric].get(column.name) for metric in metrics]
        if column.reference and column is not comparison.columns[0]:
            lines.append(r"\midrule")
        lines.append(" & ".join([_escaped(column.name), *map(_mean, scores)]) + r" \\")
        lines.append(" & ".join(["", *map(_ends, scores)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _mean(score: MetricValue | None) -> str:
    if score is None:
        return "--"
    marks = ("*" if score.significant else "") + (r"\dag{}" if score.method_significant else "")
    return number(score.interval.mean) + (rf"\textsuperscript{{{marks}}}" if marks else "")


def _ends(score: MetricValue | None) -> str:
    if score is None or score.interval.low != score.interval.low:
        return ""
    return rf"{{\small [{number(score.interval.low)}, {number(score.interval.high)}]}}"


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(character, character) for character in text)


def scores_csv(comparison: Comparison) -> str:
    """Return every score as CSV, a row for each run and metric; empty where there is no value."""
    ends = ("mean", "low", "high")
    names = ["run", "seeds", "metric", *ends, "deviation_over_seeds"]
    names += [f"difference_{end}" for end in ends] + ["p", "p_corrected"]
    names += [f"method_{end}" for end in ends] + ["method_p", "method_p_corrected"]
    rows = []
    seeds = {column.name: " ".join(map(str, column.seeds)) for column in comparison.columns}
    for metric, scores in comparison_values(comparison)["scores"].items():
        for run, score in scores.items():
            row: list[Any] = [run, seeds[run], metric, *(score[end] for end in ends), score["deviation"]]
            for part in ("difference", "method"):
                found = score.get(part) or {}
                row += [found.get(name) for name in (*ends, "p", "p_corrected")]
            rows.append(row)
    return _csv(names, rows)


def clips_csv(comparison: Comparison) -> str:
    """Return the value of every clip as CSV, a row for each run, seed, clip and metric, for tests of one's own."""
    rows = [
        [column.name, evaluation.seed, recording, clip, metric, value]
        for column in comparison.runs
        for evaluation in column.evaluations
        for metric in comparison.metrics
        for clip, recording, value in zip(
            evaluation.clips, comparison.recordings, column.values(evaluation, metric), strict=False
        )
    ]
    return _csv(["run", "seed", "recording", "clip", "metric", "value"], rows)


def _csv(names: list[str], rows: list[list[Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    return file.getvalue()


def methods_text(comparison: Comparison) -> str:
    """Return a paragraph for a paper: what was compared, on what, by which tests, and with which versions."""
    data = comparison.data
    seeds = {column.name: len(column.seeds) for column in comparison.runs}
    steps = sorted({step for column in comparison.runs for step in column.steps})
    trained = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    counted = ", ".join(f"{name} ({count} seed{'s' * (count != 1)})" for name, count in seeds.items())
    metrics = "; ".join(f"{described['title']} ({described['source']})" for described in comparison.metrics.values())
    libraries = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    commits = sorted(_commits(comparison))
    return (
        f"# {comparison.name}\n\n"
        f"We compare {counted} after {trained} steps on {len(comparison.clips)} "
        f"{data.get('split', 'held-out')} clips of {len(set(comparison.recordings))} recordings of "
        f"{data.get('class', 'data')} at {comparison.sample_rate:,} Hz. Differences are to {comparison.baseline}. "
        f"{METHOD}\n\n"
        f"Metrics: {metrics}.\n\n"
        f"Software: Ostinato {importlib.metadata.version('ostinato')}, {libraries}; "
        f"commits of the training code: {', '.join(commits) or 'not known'}.\n"
    )


def _commits(comparison: Comparison) -> set[str]:
    found = set()
    for column in comparison.runs:
        for evaluation in column.evaluations:
            try:
                config = run_folder_of(evaluation).stored_config() or {}
            except (DamagedFileError, RunError):
                continue
            commit = config.get("provenance", {}).get("commit")
            found |= {str(commit)[:10]} if commit else set()
    return found
