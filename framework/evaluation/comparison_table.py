"""Formats a comparison: for the terminal, as Markdown, and as `comparison.json`."""

import json
import math
from typing import Any

from framework.evaluation.columns import Column
from framework.evaluation.comparison import METHOD, Comparison, MetricValue
from framework.evaluation.statistics import Difference, Interval
from framework.evaluation.table import ARROWS, corrected, number

VERSION = 1
MARK = "*"
METHOD_MARK = "\N{DAGGER}"
COSTS = {
    "parameters": "parameters",
    "real_time_factor": "synthesis (s per s of audio)",
    "seconds_per_step": "training step (s)",
    "device_hours": "training (device hours)",
    "peak_memory": "peak memory (MiB)",
    "device": "evaluated on",
}


def comparison_table(comparison: Comparison) -> str:
    """Return the comparison for a terminal: one block for each metric, with a row for each column."""
    lines = [summary(comparison)]
    width = max(len(name(comparison, column)) for column in comparison.columns)
    for metric, described in comparison.metrics.items():
        scores = [comparison.scores[metric].get(column.name) for column in comparison.columns]
        means = [mean(score) if score else "-" for score in scores]
        room = max(map(len, means))
        lines.append(f"\n{title(described)}")
        for column, score, text in zip(comparison.columns, scores, means, strict=True):
            told = difference(score) if score else ""
            lines.append(f"  {name(comparison, column):{width}}  {text:{room}}  {told}".rstrip())
    lines += ["", *_blocks(comparison, width)]
    return "\n".join([*lines, *(f"note: {remark}" for remark in comparison.remarks)])


def comparison_markdown(comparison: Comparison) -> str:
    """Return the comparison as a Markdown document."""
    columns = comparison.columns
    head = ["metric", *(name(comparison, column) for column in columns)]
    rows = []
    for metric, described in comparison.metrics.items():
        scores = [comparison.scores[metric].get(column.name) for column in columns]
        cells = ["<br>".join(filter(None, [mean(s), difference(s)])) if s else "-" for s in scores]
        rows.append([title(described), *cells])
    parts = [f"# {comparison.name}", summary(comparison) + ".", _markdown(head, rows)]
    runs = comparison.runs
    changed = [[_code(n), *(_code(value(c, n)) for c in runs)] for n in changed_names(comparison)]
    if changed:
        parts += ["## Hyperparameters", _markdown(["", *(c.name for c in runs)], changed)]
    costs = [[text, *(cost(c, n) for c in runs)] for n, text in COSTS.items()]
    parts += ["## Cost", _markdown(["", *(c.name for c in runs)], costs), METHOD]
    if comparison.remarks:
        parts.append("\n".join(f"* {remark}" for remark in comparison.remarks))
    return "\n\n".join(parts) + "\n"


def comparison_values(comparison: Comparison) -> dict[str, Any]:
    """Return the comparison as plain values; what is no number is None."""
    return {
        "version": VERSION,
        "name": comparison.name,
        "baseline": comparison.baseline,
        "sample_rate": comparison.sample_rate,
        "data": comparison.data,
        "clips": comparison.clips,
        "recordings": comparison.recordings,
        "metrics": comparison.metrics,
        "columns": [_column(column) for column in comparison.columns],
        "scores": {m: {c: _score(score) for c, score in of.items()} for m, of in comparison.scores.items()},
        "method": METHOD,
        "remarks": comparison.remarks,
    }


def comparison_json(comparison: Comparison) -> str:
    """Return the comparison as JSON."""
    return json.dumps(comparison_values(comparison), indent=1, allow_nan=False) + "\n"


def summary(comparison: Comparison) -> str:
    """Return one line with the runs, the clips and the baseline."""
    data, runs = comparison.data, comparison.runs
    counted = f"{len(runs)} run{'s' if len(runs) > 1 else ''}"
    return (
        f"{counted} on {len(comparison.clips)} {data.get('split', 'held-out')} clips of "
        f"{len(set(comparison.recordings))} recordings of {data.get('class', 'data')} "
        f"at {comparison.sample_rate:,} Hz; differences to {comparison.baseline}"
    )


def name(comparison: Comparison, column: Column) -> str:
    """Return a column's name, with the number of its seeds and a mark on the baseline."""
    seeds = f" ({len(column.seeds)} seeds)" if len(column.seeds) > 1 else ""
    return f"{column.name}{seeds}{' (baseline)' if column.name == comparison.baseline else ''}"


def title(described: dict[str, Any]) -> str:
    """Return a metric's title with its unit and an arrow that shows whether higher or lower is better."""
    unit = f" ({described['unit']})" if described["unit"] else ""
    return f"{described['title']}{unit} {ARROWS[described['better']]}"


def mean(score: MetricValue) -> str:
    """Return a mean with its interval, and the deviation over seeds where there are several."""
    return " ".join(filter(None, [corrected(score.interval, score.uncorrected), deviation(score)]))


def deviation(score: MetricValue) -> str:
    """Return the deviation over seeds; empty for a single one."""
    return "" if math.isnan(score.deviation) else f"\N{PLUS-MINUS SIGN} {number(score.deviation)} over seeds"


def difference(score: MetricValue) -> str:
    """Return a difference with its interval, its corrected p and a mark if significant; empty if there is none."""
    mark = MARK if score.significant else ""
    return " ".join(filter(None, [plain_difference(score), probability(score) + mark, method(score)]))


def method(score: MetricValue) -> str:
    """Return the interval of the difference between methods, its corrected p and mark; empty if it is not known."""
    found = score.method
    if found is None or math.isnan(found.mean) or math.isnan(score.method_p):
        return ""
    mark = METHOD_MARK if score.method_significant else ""
    return f"(method [{signed(found.low)}, {signed(found.high)}] p {score.method_p:.2g}{mark})"


def plain_difference(score: MetricValue) -> str:
    """Return a difference with its interval; empty if there is none."""
    found = score.difference
    if found is None or not found.count or math.isnan(found.mean):
        return ""
    interval = "" if math.isnan(found.low) else f" [{signed(found.low)}, {signed(found.high)}]"
    return signed(found.mean) + interval


def probability(score: MetricValue) -> str:
    """Return the corrected p of a difference; empty if it was not tested."""
    return "" if math.isnan(score.p) else f"p {score.p:.2g}"


def signed(value: float) -> str:
    """Format a difference with its sign; differences that round to 0 have no sign."""
    text = number(value)
    return text.lstrip("-") if not float(text) else text if text.startswith("-") else f"+{text}"


def changed_names(comparison: Comparison) -> list[str]:
    """Return the hyperparameters in which any run differs from the baseline."""
    return list(dict.fromkeys(name for column in comparison.runs for name in column.changes or ()))


def value(column: Column, name: str) -> str:
    """Return a run's value of a changed hyperparameter; empty if it equals the baseline's."""
    if column.changes is None:
        return "?"
    return plain(column.changes[name][1]) if name in column.changes else ""


def plain(setting: Any) -> str:
    """Format a hyperparameter's value; classes are shown by name."""
    if isinstance(setting, str) and ":" in setting:
        return setting.rpartition(":")[2]
    return str(setting)


def cost(column: Column, name: str) -> str:
    """Format a cost; a dash if it is not known."""
    found = column.cost.get(name)
    if found is None:
        return "-"
    if name == "peak_memory":
        return f"{found / 2**20:,.0f}"
    return f"{found:,.0f}" if name == "parameters" else str(found) if isinstance(found, str) else f"{found:.3g}"


def _blocks(comparison: Comparison, width: int) -> list[str]:
    """Return the lines on hyperparameters and costs."""
    lines = []
    for column in comparison.runs:
        if column.changes:
            told = ", ".join(f"{n} {plain(old)} -> {plain(new)}" for n, (old, new) in column.changes.items())
            lines.append(f"  {name(comparison, column):{width}}  {told}")
    lines = ["changes against the baseline", *lines, ""] if lines else []
    lines.append("cost")
    for column in comparison.runs:
        facts = [f"{text} {cost(column, n)}" for n, text in COSTS.items() if cost(column, n) != "-"]
        lines.append(f"  {name(comparison, column):{width}}  {', '.join(facts)}")
    return lines


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in lines)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "reference": column.reference,
        "experiment": "" if column.reference else column.evaluations[0].experiment,
        "family": "" if column.reference else column.evaluations[0].family,
        "runs": [] if column.reference else [e.run for e in column.evaluations],
        "seeds": column.seeds,
        "steps": column.steps,
        "evaluations": [str(e.folder) for e in column.evaluations],
        "changes": column.changes if column.changes is None else {n: list(c) for n, c in column.changes.items()},
        "cost": column.cost,
    }


def _score(score: MetricValue) -> dict[str, Any]:
    found = {**_interval(score.interval), "values": score.values, "seeds": score.seeds}
    found["deviation"] = _plain(score.deviation)
    if not math.isnan(score.uncorrected):
        found["uncorrected"] = score.uncorrected
    if score.difference is not None:
        p = {"p": _plain(score.difference.p), "p_corrected": _plain(score.p), "significant": score.significant}
        found["difference"] = _interval(score.difference) | p
    if score.method is not None:
        p = {
            "p": _plain(score.method.p),
            "p_corrected": _plain(score.method_p),
            "significant": score.method_significant,
            "pairs_of_seeds": score.method.count,
        }
        found["method"] = {end: _plain(getattr(score.method, end)) for end in ("mean", "low", "high")} | p
    return found


def _interval(interval: Interval | Difference) -> dict[str, Any]:
    ends = {name: _plain(getattr(interval, name)) for name in ("mean", "low", "high")}
    return ends | {"clips": interval.count}


def _plain(number: float) -> float | None:
    return None if math.isnan(number) else float(number)
