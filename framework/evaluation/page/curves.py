"""Learning curves of the page: what runs logged while they were trained, thinned to what a screen can show."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from framework.runs.stored_files import DamagedFileError, read_metrics

POINTS = 300
"""Greatest number of points of a curve; of more, means over equal stretches are drawn."""

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
    """Return a curve of few enough points: means over stretches of equal numbers of points."""
    size = math.ceil(len(curve) / POINTS)
    parts = [curve[i : i + size] for i in range(0, len(curve), size)]
    return [(sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)) for part in parts]
