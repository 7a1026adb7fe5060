"""Adds the results of listening tests to a comparison as metrics: in its tables, on its page and on W&B."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from framework.evaluation.columns import Column
from framework.evaluation.comparison import Comparison, MetricValue, corrected
from framework.evaluation.statistics import Difference, Interval
from framework.json_text import parse_json
from framework.listening.plan import ListeningError
from framework.listening.report import FILE, TITLES, VERSION, counted


def with_listening(comparison: Comparison, folder: Path) -> Comparison:
    """Return a comparison with the results in its folder's `listening.json` as its first metrics.

    Columns of a test are matched by run and step, clips by name. Runs that were trained further since the test are left
    out with a remark.

    Raises:
        ListeningError: `listening.json` is damaged.
    """
    path = folder / FILE
    if not path.exists():
        return comparison
    try:
        found = parse_json(path.read_text())
        tests = found["tests"] if found["version"] in (1, VERSION) else {}
        tests = without_intervals(tests) if found["version"] == 1 else tests
    except (ValueError, KeyError, TypeError) as error:
        raise ListeningError(
            f"{path} is damaged ({error}); write it again with `ostinato listen {folder} --results`"
        ) from None
    metrics, scores, remarks = {}, {}, []
    for kind, test in tests.items():
        title = f"preferred to {test['made_of']['baseline']}" if kind == "ab" else TITLES[kind]
        columns, unheard = matched(comparison, test)
        remarks += [f"{title}: no score of {name}, which was rated at other steps or not at all" for name in unheard]
        of_kind = (preferences if kind == "ab" else ratings)(comparison, test, columns)
        if not of_kind:
            remarks += (
                [f"{title}: no score, because the baseline of this comparison is {comparison.baseline}"]
                if kind == "ab"
                else []
            )
            continue
        metrics[kind], scores[kind] = described(kind, title, test), of_kind
        remarks += [f"{title}: {metrics[kind]['source']}", *(f"{title}: {told}" for told in test["remarks"])]
    return replace(
        comparison,
        metrics={**metrics, **comparison.metrics},
        scores={**scores, **comparison.scores},
        remarks=[*comparison.remarks, *remarks],
    )


def without_intervals(tests: dict[str, Any]) -> dict[str, Any]:
    """Remove the intervals of a file of version 1, which are too narrow, and add a remark."""
    remark = "no intervals: an earlier version treated the ratings of one listener as independent"
    unknown = {"low": None, "high": None, "p": None, "p_corrected": None}
    return {
        kind: test
        | {"figures": [figure | unknown for figure in test["figures"]]}
        | {"method": "mean", "remarks": [*test["remarks"], f"{remark}; run `ostinato listen --results`"]}
        for kind, test in tests.items()
    }


def described(kind: str, title: str, test: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a test as a metric; preferences have no values per clip."""
    ratings = sum(figure["ratings"] for figure in test["figures"])
    source = (
        f"{counted(ratings, 'rating')} of {counted(test['listeners'], 'listener')} on "
        f"{counted(len(test['made_of']['clips']), 'clip')}, a run of several seeds heard by its first; {test['method']}"
    )
    return {"title": title, "unit": "", "better": "higher", "source": source, "of_sets": kind == "ab"}


def matched(comparison: Comparison, test: dict[str, Any]) -> tuple[dict[str, Column], list[str]]:
    """Return the comparison's columns by their names in a test, and the runs that are not in the test."""
    heard = {
        (tested["reference"], *tested["runs"][:1], *tested["steps"][:1]): name
        for name, tested in test["made_of"]["columns"].items()
    }
    columns, unheard = {}, []
    for column in comparison.columns:
        runs = [] if column.reference else [evaluation.run for evaluation in column.evaluations]
        name = heard.get((column.reference, *runs[:1], *column.steps[:1]))
        if name is not None:
            columns[name] = column
        elif not column.reference:
            unheard.append(column.name)
    return columns, unheard


def ratings(comparison: Comparison, test: dict[str, Any], columns: dict[str, Column]) -> dict[str, MetricValue]:
    """Return the scores of a MOS or MUSHRA test; intervals and differences are over listeners and clips."""
    names = {column.name: name for name, column in columns.items()}
    baseline = names.get(comparison.baseline, "")
    found = {}
    for figure in test["figures"]:
        column = columns.get(figure["column"])
        if column is None or figure["mean"] is None:
            continue
        values = [figure["clips"].get(clip) for clip in comparison.clips]
        differences = figure.get("differences", {})
        difference = difference_of(differences[baseline]) if baseline in differences else None
        found[column.name] = MetricValue(interval(figure), values, [figure["mean"]], math.nan, difference)
    return corrected(found, comparison.columns)


def preferences(comparison: Comparison, test: dict[str, Any], columns: dict[str, Column]) -> dict[str, MetricValue]:
    """Return the scores of an A/B test; none if its baseline is not the comparison's."""
    against = columns.get(test["made_of"]["baseline"])
    if against is None or against.name != comparison.baseline:
        return {}
    found = {}
    for figure in test["figures"]:
        column = columns.get(figure["column"])
        if column is None or figure["mean"] is None:
            continue
        share = interval(figure)
        ends = (share.mean - 0.5, share.low - 0.5, share.high - 0.5)
        difference = Difference(*ends, share.count, number(figure["p"]))
        found[column.name] = MetricValue(share, [], [share.mean], math.nan, difference, number(figure["p_corrected"]))
    return found


def interval(figure: dict[str, Any]) -> Interval:
    """Return the interval of a figure in `listening.json`."""
    return Interval(number(figure["mean"]), number(figure["low"]), number(figure["high"]), len(figure["clips"]))


def difference_of(values: dict[str, Any]) -> Difference:
    """Return a difference in `listening.json`."""
    mean, low, high, p = (number(values[name]) for name in ("mean", "low", "high", "p"))
    return Difference(mean, low, high, values["ratings"], p)


def number(value: float | None) -> float:
    """Return a number; NaN for None."""
    return math.nan if value is None else value
