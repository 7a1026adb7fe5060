"""Meta-evaluation of metrics: rank correlations of metrics with the grade of known degradations of audio."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from framework.audio.files import resample
from framework.audio.mel import MelPreset
from framework.errors import InvalidValueError, OstinatoError
from framework.evaluation.degradations import DEGRADATIONS, Degradation
from framework.evaluation.metrics.metric import Clip, Metric, SetMetric
from framework.progress import progress

GRADES = 6
"""Grades of a degradation above 0."""

TRUSTED = 0.9
"""Rank correlation from which a metric is recommended for a degradation."""

FORMAT_SHARE = 0.1
"""A metric that a change of the format moves by more than this part of a degradation depends on the format."""


@dataclass(frozen=True)
class MetricTrust:
    """How a metric follows the degradations.

    Args:
        name: Name of the metric.
        title: The same for a reader.
        of_sets: Whether it compares sets and needs no true clip for each generated one.
        correlations: Spearman's rank correlation with the grade by degradation, 1 if it is worse with every grade; NaN
            where the metric has no value.
        values: The values by degradation, from grade 0 to 1.
        format_change: The largest change by another bit depth or sample rate of the same audio, as a part of the change
            from grade 0 to the largest grade, the median of the degradations.
    """

    name: str
    title: str
    of_sets: bool
    correlations: dict[str, float]
    values: dict[str, list[float]] = field(default_factory=dict)
    format_change: float = math.nan

    @property
    def mean(self) -> float:
        """The mean of the correlations; a degradation without a value counts as 0."""
        return float(np.mean([0.0 if math.isnan(value) else value for value in self.correlations.values()]))

    @property
    def depends_on_format(self) -> bool:
        """Whether values of recordings of other bit depths or sample rates cannot be compared."""
        return self.format_change > FORMAT_SHARE


def meta_evaluate(
    clips: Sequence[Tensor],
    preset: MelPreset,
    metrics: Sequence[Metric | SetMetric],
    degradations: Sequence[Degradation] = DEGRADATIONS,
    grades: int = GRADES,
) -> list[MetricTrust]:
    """Return how metrics follow graded degradations of clips, the most reliable metric first.

    A metric of clips is its mean over the clips, each compared with itself before the degradation. A metric of sets is
    the distance of all degraded clips from all clips.

    Args:
        clips: Recordings `(time,)` at the sample rate of the preset, one second or longer.
        preset: The mel convention of the metrics.
        metrics: Metrics that compare generated audio with true audio.
        degradations: The degradations.
        grades: Number of grades above 0, evenly spaced.

    Raises:
        InvalidValueError: there is no clip, one is too short, or there are fewer than 2 grades.
    """
    if not clips or min(len(clip) for clip in clips) < preset.sample_rate:
        raise InvalidValueError("the evaluation of metrics needs clips of one second or longer: give other data")
    if grades < 2:
        raise InvalidValueError(f"grades is {grades}: a rank correlation needs 2 or more")
    true = [_clip(clip, preset) for clip in clips]
    steps = np.linspace(0, 1, grades + 1)
    values: dict[str, dict[str, list[float]]] = {metric.name: {} for metric in metrics}
    for degradation in progress(degradations, "degrading the clips", unit="degradations"):
        for grade in steps:
            made = [
                _clip(degradation(clip, preset.sample_rate, float(grade), seed=n), preset)
                for n, clip in enumerate(clips)
            ]
            for metric in metrics:
                values[metric.name].setdefault(degradation.name, []).append(_value(metric, made, true))
    formats = [[_clip(change(clip, preset.sample_rate), preset) for clip in clips] for change in FORMATS]
    found = [
        MetricTrust(
            metric.name,
            metric.title,
            isinstance(metric, SetMetric),
            {name: _correlation(metric, steps, series) for name, series in values[metric.name].items()},
            values[metric.name],
            _format_change(values[metric.name], [_value(metric, made, true) for made in formats]),
        )
        for metric in metrics
    ]
    return sorted(found, key=lambda trust: -trust.mean)


def sixteen_bits(audio: Tensor, sample_rate: int) -> Tensor:
    """Return audio as a file of 16 bits holds it."""
    return (audio * 32768).round().clamp(-32768, 32767) / 32768


def through_another_rate(audio: Tensor, sample_rate: int) -> Tensor:
    """Return audio as it comes from a file of twice the sample rate."""
    return resample(resample(audio, sample_rate, 2 * sample_rate), 2 * sample_rate, sample_rate)[: len(audio)]


FORMATS = (sixteen_bits, through_another_rate)
"""Changes of the format of audio that should not change a metric."""


def _clip(audio: Tensor, preset: MelPreset) -> Clip:
    return Clip(audio.float()[None, None], preset)


@torch.inference_mode()
def _value(metric: Metric | SetMetric, made: Sequence[Clip], true: Sequence[Clip]) -> float:
    """Return a metric of clips; NaN where it has none."""
    try:
        if isinstance(metric, SetMetric):
            # Embeddings of the true clips are needed at every grade.
            embedded = [[clip.once(metric.embed).double().cpu() for clip in part] for part in (made, true)]
            return float(metric.distance(torch.cat(embedded[0]), torch.cat(embedded[1])))
        return float(np.mean([metric.measure(ours, theirs) for ours, theirs in zip(made, true, strict=True)]))
    except OstinatoError:
        return math.nan


def _correlation(metric: Metric | SetMetric, steps: np.ndarray, series: Sequence[float]) -> float:
    """Return the rank correlation of the grade with how bad the metric says that it is; values of infinity count."""
    bad = np.asarray(series, float) * (1 if metric.better == "lower" else -1)
    if np.isnan(bad).any() or len(np.unique(bad)) < 2:
        return math.nan
    return float(stats.spearmanr(steps, bad).statistic)


def _format_change(values: dict[str, list[float]], changed: Sequence[float]) -> float:
    """Return the largest change of a metric by the format, as a part of what degradations change."""
    with np.errstate(invalid="ignore"):
        spans = [abs(series[-1] - series[0]) for series in values.values()]
        same = next(iter(values.values()))[0]
        span, change = float(np.nanmedian(spans)), float(np.max(np.abs(np.asarray(changed) - same)))
    return change / span if span and math.isfinite(span) else math.nan


def meta_table(found: Sequence[MetricTrust], degradations: Sequence[Degradation] = DEGRADATIONS) -> str:
    """Return the correlations as a table, and which metrics to trust for what."""
    names = [degradation.name for degradation in degradations]
    rows = [["metric", *(name.replace("_", " ") for name in names), "mean"]]
    rows += [
        [trust.title, *(_shown(trust.correlations[name]) for name in names), _shown(trust.mean)] for trust in found
    ]
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    lines = ["  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip() for cells in rows]
    for of_sets, title in ((False, "with a true clip for each"), (True, "of sets")):
        for degradation in degradations:
            trusted = [t for t in found if t.of_sets == of_sets and t.correlations[degradation.name] >= TRUSTED]
            named = ", ".join(t.title for t in trusted[:3]) or f"none (no correlation of {TRUSTED} or more)"
            lines.append(f"{degradation.title}, {title}: {named}")
    lines += [
        f"note: {trust.title} depends on the bit depth or sample rate of the files: compare only files of one format"
        for trust in found
        if trust.depends_on_format
    ]
    return "\n".join(lines)


def _shown(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
