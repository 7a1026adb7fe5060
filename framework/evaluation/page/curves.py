"""Learning curves of the page, from the logs of the runs, reduced to the resolution of a screen."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from framework.runs.stored_files import DamagedFileError, read_metrics

POINTS = 300
"""Maximum number of points of a curve; longer curves are averaged over equal spans."""

Curve = list[tuple[float, float]]


def curves_of(runs: Mapping[str, Sequence[Path]]) -> dict[str, dict[str, list[Curve]]]:
    """Return `{metric: {run: [curve of each seed]}}` from the `metrics.csv` of each seed of each run.

    Held-out metrics come first, then the terms of the training; a value that was not finite leaves a gap.
    """
    found: dict[str, dict[str, list[Curve]]] = {}
    for run, paths in runs.items():
        for path in paths:
            for metric, curve in curves(path).items():
                found.setdefault(metric, {}).setdefault(run, []).append(thinned(curve))
    return dict(sorted(found.items(), key=lambda item: (not item[0].startswith("validation/"), item[0])))


def curves(path: Path) -> dict[str, Curve]:
    """Return the curve of each logged value over steps; none where nothing was logged, or the file is damaged."""
    try:
        rows = read_metrics(path)
    except DamagedFileError:
        rows = []
    found: dict[str, Curve] = {}
    for row in rows:
        step = row.pop("step", None)
        for metric, value in row.items():
            if step and value and metric != "epoch" and math.isfinite(float(value)):
                found.setdefault(metric, []).append((float(step), float(value)))
    return {metric: curve for metric, curve in found.items() if len(curve) > 1}


def thinned(curve: Curve) -> Curve:
    """Reduce a curve to at most the maximum number of points, by means over equal spans."""
    size = math.ceil(len(curve) / POINTS)
    parts = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
