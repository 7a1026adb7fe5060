"""Listening tests as metrics of a comparison: in its tables, on its page and on W&B, beside what was measured."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from framework.evaluation.columns import Column
from framework.evaluation.comparison import Comparison, Score, corrected
from framework.evaluation.statistics import Difference, Interval
from framework.json_text import parse_json
from framework.listening.plan import ListeningError
from framework.listening.report import FILE, TITLES, VERSION, counted


def with_listening(comparison: Comparison, folder: Path) -> Comparison:
    """Return a comparison with what listeners said of it, by the `listening.json` of its folder, as first metrics.

    A test's columns are found again by their runs and steps, its clips by their names: what was trained further since
    was not heard, and is left out with a remark.

    Raises:
        ListeningError: `listening.json` is cut short.
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
            f"{path} is cut short ({error}): `ostinato listen {folder} --results` writes it again"
        ) from None
    metrics, scores, remarks = {}, {}, []
    for kind, test in tests.items():
        title = f"preferred to {test['made_of']['baseline']}" if kind == "ab" else TITLES[kind]
        columns, unheard = matched(comparison, test)
        remarks += [f"{title}: {name} was heard as of other steps, or not at all: no score" for name in unheard]
        of_kind = (preferences if kind == "ab" else ratings)(comparison, test, columns)
        if not of_kind:
            remarks += (
                [f"{title}: no score here, where differences are to {comparison.baseline}"] if kind == "ab" else []
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
    """Return tests of an earlier version of the file without its intervals, which are too narrow, and with a remark."""
    remark = "no intervals: an earlier version took ratings of one listener for independent"
    unknown = {"low": None, "high": None, "p": None, "p_corrected": None}
    return {
        kind: test
        | {"figures": [figure | unknown for figure in test["figures"]]}
        | {"method": "mean", "remarks": [*test["remarks"], f"{remark}; run `ostinato listen --results`"]}
        for kind, test in tests.items()
    }


def described(kind: str, title: str, test: dict[str, Any]) -> dict[str, Any]:
    """Return what a comparison says of a metric; preferences have no value a clip."""
    ratings = sum(figure["ratings"] for figure in test["figures"])
    source = (
        f"{counted(ratings, 'rating')} of {counted(test['listeners'], 'listener')} on "
        f"{counted(len(test['made_of']['clips']), 'clip')}, a run of several seeds heard by its first; {test['method']}"
    )
    return {"title": title, "unit": "", "better": "higher", "source": source, "of_sets": kind == "ab"}


def matched(comparison: Comparison, test: dict[str, Any]) -> tuple[dict[str, Column], list[str]]:
    """Return the comparison's columns by the names that they had in a test, and the runs that are not in it."""
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


def ratings(comparison: Comparison, test: dict[str, Any], columns: dict[str, Column]) -> dict[str, Score]:
    """Return the scores of a MOS or MUSHRA test, intervals and differences over listeners and clips."""
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
        found[column.name] = Score(interval(figure), values, [figure["mean"]], math.nan, difference)
    return corrected(found, comparison.columns)


def preferences(comparison: Comparison, test: dict[str, Any], columns: dict[str, Column]) -> dict[str, Score]:
    """Return the scores of an A/B test against the comparison's own baseline, none if that is another one."""
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
        found[column.name] = Score(share, [], [share.mean], math.nan, difference, number(figure["p_corrected"]))
    return found


def interval(figure: dict[str, Any]) -> Interval:
    """Return a figure's interval, counted in clips as those of a comparison are."""
    return Interval(number(figure["mean"]), number(figure["low"]), number(figure["high"]), len(figure["clips"]))


def difference_of(values: dict[str, Any]) -> Difference:
    """Return a difference of `listening.json`."""
    mean, low, high, p = (number(values[name]) for name in ("mean", "low", "high", "p"))
    return Difference(mean, low, high, values["ratings"], p)


def number(value: float | None) -> float:
    """Return a number; NaN for what is none."""
    return math.nan if value is None else value
