"""Formats an evaluation as a table: a row for each metric with mean and 95 % interval, next to ground truth."""

import math

from framework.evaluation.evaluation import Evaluation
from framework.evaluation.statistics import Interval

ARROWS = {"lower": "\N{DOWNWARDS ARROW}", "higher": "\N{UPWARDS ARROW}", "nearer": "\N{ALMOST EQUAL TO} truth"}
TITLES = {"griffin_lim": "Griffin-Lim", "truth": "truth"}


def evaluation_table(found: Evaluation) -> str:
    """Return the table of all metrics, followed by missing values with reasons and the costs of generation."""
    measured = [found.columns, *(metric["columns"] for metric in found.distributions.values())]
    columns = [name for name in TITLES if any(name in columns for columns in measured)]
    head = [f"{len(found.clips)} {found.data['split']} clips", "mean [95 %]", *map(TITLES.__getitem__, columns)]
    rows = [head]
    for name, metric in found.metrics.items():
        intervals = [found.interval(name), *(found.interval(name, column) for column in columns)]
        rows.append([_title(metric), *map(shown, intervals)])
    for metric in found.distributions.values():
        entries = [metric, *(metric["columns"].get(column) for column in columns)]
        rows.append([_title(metric), *(_of_set(entry, metric["clips"]) for entry in entries)])
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *_remarks(found)])


def shown(interval: Interval) -> str:
    """Return a mean with its interval as a reader writes it; a dash where there is nothing."""
    if not interval.count or math.isnan(interval.mean):
        return "-"
    if math.isnan(interval.low) or interval.low == interval.high:
        return number(interval.mean)
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"


def corrected(interval: Interval, uncorrected: float) -> str:
    """Return a distance between sets with its interval, and behind it as it is without correction for its bias."""
    return shown(interval) if math.isnan(uncorrected) else f"{shown(interval)} ({number(uncorrected)} uncorrected)"


def _of_set(entry: dict | None, clips: int) -> str:
    if entry is None or entry["value"] is None:
        return "-"
    if entry.get("corrected") is None:
        return f"{number(entry['value'])} uncorrected"
    low, high = (math.nan if entry[end] is None else entry[end] for end in ("low", "high"))
    return corrected(Interval(entry["corrected"], low, high, clips), entry["value"])


def number(value: float) -> str:
    """Return a number with about three figures that tell."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"


def _title(metric: dict) -> str:
    return f"{metric['title']}{f' ({unit})' if (unit := metric['unit']) else ''} {ARROWS[metric['better']]}"


def _remarks(found: Evaluation) -> list[str]:
    """Return what has no number and why, and the costs."""
    reasons: dict[str, list[str]] = {}
    for metric, why in found.missing.items():
        reasons.setdefault(why, []).append(metric)
    lines = [f"not measured: {', '.join(metrics)}: {why}" for why, metrics in reasons.items()]
    for metric, clips in found.notes.items():
        lines.append(f"no {metric} of {len(clips)} of {len(found.clips)} clips, {next(iter(clips))}: {_one(clips)}")
    cost = found.cost
    facts = [f"{cost['parameters']:,} parameters", f"{cost['real_time_factor']:.3g} s a second of audio"]
    if cost["peak_memory"] is not None:
        facts.append(f"{cost['peak_memory'] / 2**20:.0f} MiB")
    if cost["seconds_per_step"]:
        facts.append(f"{cost['seconds_per_step']:.3g} s a training step")
    return [*lines, f"cost: {', '.join(facts)} ({cost['device']})"]


def _one(clips: dict[str, str]) -> str:
    return next(iter(clips.values()))
