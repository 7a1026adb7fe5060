"""Several runs beside each other on the same held-out clips: means, paired differences, what they differ in and cost.

Everything here is computed from stored evaluations and the `config.yaml` of their runs; nothing is generated again.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.evaluation.columns import Column, ComparisonError, columns_of, label, run_folder_of
from framework.evaluation.evaluation import Evaluation
from framework.evaluation.inference import method_difference, network_difference, seeds_over_recordings
from framework.evaluation.metrics.distribution import FORMER_NAMES
from framework.evaluation.statistics import FEWEST, Difference, Interval, holm
from framework.frames import data_frame, html_table

if TYPE_CHECKING:
    import pandas

ALPHA = 0.05
"""A difference is marked where its corrected p is smaller."""

LEVEL = 0.95

METHOD = (
    "Means are over the held-out clips, each clip first averaged over the seeds of a run; brackets are 95 % intervals "
    "over recordings (BCa bootstrap, or Student's t of fewer than 10). Differences are paired on the same clips. "
    "* marks that these networks differ: p < 0.05 in a two-sided test that flips the signs of whole recordings. "
    "\N{DAGGER} marks that the methods differ: p < 0.05 over trainings and recordings, both drawn at random (two-way "
    "variance components), which takes two seeds or more of both. Both p are corrected by Holm within each metric over "
    "all runs that are compared with the baseline, not over metrics. Distances between sets are corrected for their "
    "bias by the jackknife, with its intervals and no test; in parentheses they are as papers report them. Ground "
    "truth and Griffin-Lim are for orientation and not tested."
)


@dataclass(frozen=True)
class MetricValue:
    """A metric of a column.

    Args:
        interval: Mean over clips and its 95 % interval; of a distance between sets, the distance and its interval.
        values: The value of each clip, averaged over seeds; empty for a distance between sets.
        seeds: The mean of each seed.
        deviation: Standard deviation of the seeds' means (n - 1); NaN of a single seed.
        difference: Less the baseline's, over the same clips; None of the baseline itself, and where one has none.
        p: The difference's p, corrected for the number of runs; NaN where nothing is tested.
        by_seed: The values of each clip by seed; empty for a distance between sets.
        method: The difference between the methods, over trainings and recordings; None where it is not known.
        method_p: Its p, corrected for the number of runs; NaN where nothing is tested.
        uncorrected: For a distance between sets that is corrected for its bias, the distance as papers report it; else
            NaN.
    """

    interval: Interval
    values: list[float | None]
    seeds: list[float]
    deviation: float
    difference: Difference | None = None
    p: float = math.nan
    uncorrected: float = math.nan
    by_seed: dict[int, list[float | None]] = field(default_factory=dict)
    method: Difference | None = None
    method_p: float = math.nan

    @property
    def significant(self) -> bool:
        """Whether these networks differ more than chance alone makes them differ on other recordings."""
        return self.p < ALPHA

    @property
    def method_significant(self) -> bool:
        """Whether the methods differ more than chance alone makes other trainings differ on other recordings."""
        return self.method_p < ALPHA


@dataclass(frozen=True)
class Comparison:
    """Runs beside each other.

    Args:
        name: What it is called.
        baseline: Name of the column that differences are taken to.
        columns: Ground truth, the baseline, the other runs, Griffin-Lim.
        clips: Names of the held-out clips, the same for all.
        recordings: The recording that each clip is a part of.
        sample_rate: The sample rate of all audio (Hz).
        data: `class`, `fingerprint`, `split` ... of the held-out clips, the same for all.
        metrics: `{name: {"title", "unit", "better", "source", "of_sets"}}`, of what any run has.
        scores: `{metric: {column: MetricValue}}`; a column without the metric is not there.
        remarks: What a reader has to know to read the numbers right.
    """

    name: str
    baseline: str
    columns: list[Column]
    clips: list[str]
    sample_rate: int
    data: dict[str, Any]
    metrics: dict[str, dict[str, Any]]
    scores: dict[str, dict[str, MetricValue]]
    remarks: list[str] = field(default_factory=list)
    recordings: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[Column]:
        """The columns that are runs, the baseline first."""
        return [column for column in self.columns if not column.reference]

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each metric of each column: mean with its interval, difference to the baseline, p."""
        return [
            {
                "metric": metric,
                "run": column.name,
                "mean": score.interval.mean,
                "low": score.interval.low,
                "high": score.interval.high,
                "difference": score.difference.mean if score.difference else math.nan,
                "difference_low": score.difference.low if score.difference else math.nan,
                "difference_high": score.difference.high if score.difference else math.nan,
                "p": score.p,
                "significant": score.significant,
                "method_p": score.method_p,
                "deviation_over_seeds": score.deviation,
                "seeds": max(len(column.seeds), 1),
                "clips": score.interval.count,
                "better": described["better"],
            }
            for metric, described in self.metrics.items()
            for column in self.columns
            if (score := self.scores[metric].get(column.name))
        ]

    def table(self) -> "pandas.DataFrame":
        """Return the rows as a pandas DataFrame, indexed by metric and run.

        Raises:
            MissingPackageError: pandas is not installed; `rows()` needs none.
        """
        return data_frame(self.rows(), ["metric", "run"])

    def _repr_html_(self) -> str:
        """Return the means and differences as a table."""
        shown = ("metric", "run", "mean", "low", "high", "difference", "p", "method_p", "seeds")
        rows = [{name: row[name] for name in shown} for row in self.rows()]
        return html_table(rows, f"{self.name}, differences to {self.baseline}")


def compare(
    evaluations: Sequence[Evaluation],
    baseline: str = "",
    metrics: Sequence[str] = (),
    name: str = "comparison",
    labels: Mapping[str, str] | None = None,
) -> Comparison:
    """Compare runs on the clips that they were evaluated on.

    Evaluations of one family and under one name are seeds of one run and are averaged; all others are columns.

    Args:
        evaluations: The evaluations of all runs.
        baseline: Name, experiment, signature or folder of the run that differences are taken to; else the first.
        metrics: Names of those to compare, in this order; else all that there are.
        name: What the comparison is called.
        labels: What runs are called, by signature; the rest is named after experiments and what sets them apart.

    Raises:
        ComparisonError: there is nothing to compare, or sample rates, data, clips or metrics do not agree.
    """
    if not evaluations:
        raise ComparisonError("no evaluation to compare: name at least one run")
    evaluations = list({e.folder.resolve(): e for e in evaluations}.values())
    check(evaluations)
    described = metrics_of(evaluations, metrics)
    columns, chosen = columns_of(evaluations, baseline, labels)
    recordings = evaluations[0].grouping
    scores = {metric: scored(metric, columns, chosen, recordings) for metric in described}
    data, rate = evaluations[0].data, evaluations[0].sample_rate
    notes = remarks(columns, described) + [
        f"{described[metric]['title']}: not corrected for its bias and without intervals, as not every evaluation has "
        f"that; evaluate again, on {FEWEST} clips or more"
        for metric in described
        if described[metric]["of_sets"] and not of_sets_corrected(metric, columns)
    ]
    return Comparison(
        name, chosen.name, columns, evaluations[0].clips, rate, data, described, scores, notes, recordings
    )


def check(evaluations: Sequence[Evaluation]) -> None:
    """Refuse evaluations whose numbers cannot stand beside each other.

    Raises:
        ComparisonError: in one line, with both values.
    """
    first, *others = evaluations
    for other in others:
        both = f"{label(first)} and {label(other)} cannot be compared: "
        if first.sample_rate != other.sample_rate:
            raise ComparisonError(f"{both}{first.sample_rate} Hz and {other.sample_rate} Hz")
        for name in {**first.data, **other.data}:
            ours, theirs = first.data.get(name), other.data.get(name)
            if ours != theirs:
                raise ComparisonError(f"{both}held-out data differ in {name}, {ours!r} and {theirs!r}")
        if first.clips != other.clips:
            counts = f"{len(first.clips)} and {len(other.clips)} clips"
            if len(first.clips) == len(other.clips):
                counts = "other clips: " + next(
                    f"{a} and {b}" for a, b in zip(first.clips, other.clips, strict=True) if a != b
                )
            raise ComparisonError(f"{both}evaluated on {counts}; `ostinato evaluate` both with the same --clips")


def metrics_of(evaluations: Sequence[Evaluation], chosen: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Return what is known of each metric that any evaluation has.

    Raises:
        ComparisonError: a metric was measured in two ways, or one asked for is in no evaluation.
    """
    found: dict[str, dict[str, Any]] = {}
    by: dict[str, Evaluation] = {}
    for evaluation in evaluations:
        for of_sets, metrics in ((False, evaluation.metrics), (True, evaluation.distributions)):
            for name, metric in metrics.items():
                described = {key: metric[key] for key in ("title", "unit", "better", "source")} | {"of_sets": of_sets}
                if of_sets and metric["clips"] < len(evaluation.clips):
                    described["source"] += f", of {metric['clips']} of {len(evaluation.clips)} clips"
                before = found.setdefault(name, described)
                by.setdefault(name, evaluation)
                unlike = next((key for key in described if before[key] != described[key]), None)
                if unlike:
                    raise ComparisonError(
                        f"{label(by[name])} and {label(evaluation)} measured {name} in two ways: "
                        f"{before[unlike]!r} and {described[unlike]!r}; evaluate both again"
                    )
    chosen = [FORMER_NAMES.get(name, name) for name in chosen]
    absent = [name for name in chosen if name not in found]
    if absent:
        raise ComparisonError(f"no run has {', '.join(absent)}: there are {', '.join(found) or 'no metrics'}")
    return {name: found[name] for name in chosen or found}


def scored(
    metric: str, columns: Sequence[Column], baseline: Column, recordings: Sequence[str]
) -> dict[str, MetricValue]:
    """Return the scores of a metric by column, p values corrected over the runs."""
    correct = of_sets_corrected(metric, columns)
    found = {c.name: score for c in columns if (score := score_of(metric, c, recordings, correct)) is not None}
    return with_differences(found, columns, baseline, recordings)


def with_differences(
    scores: dict[str, MetricValue], columns: Sequence[Column], baseline: Column, recordings: Sequence[str]
) -> dict[str, MetricValue]:
    """Return a metric's scores with their differences to the baseline's, p values corrected over the runs."""
    if baseline.name not in scores:
        return scores
    ours = scores[baseline.name]
    for column in columns:
        if column is not baseline and column.name in scores:
            score = scores[column.name]
            method = None
            if not column.reference and score.by_seed:
                method = method_difference(score.by_seed, ours.by_seed, recordings, LEVEL)
            difference = difference_of(score, ours, recordings)
            scores[column.name] = replace(score, difference=difference, method=method)
    return corrected(scores, columns)


def corrected(scores: dict[str, MetricValue], columns: Sequence[Column]) -> dict[str, MetricValue]:
    """Return a metric's scores with the p values of their differences corrected over the runs."""
    differences = {c.name: d for c in columns if c.name in scores and (d := scores[c.name].difference)}
    tested = [column.name for column in columns if not column.reference and column.name in differences]
    p = dict(zip(tested, holm([differences[name].p for name in tested]), strict=True))
    methods = {name: found for name in tested if (found := scores[name].method) is not None}
    method_p = dict(zip(methods, holm([found.p for found in methods.values()]), strict=True))
    return {
        name: replace(score, p=p.get(name, math.nan), method_p=method_p.get(name, math.nan))
        for name, score in scores.items()
    }


def of_sets_corrected(metric: str, columns: Sequence[Column]) -> bool:
    """Return whether a distance between sets is corrected for its bias wherever it was measured.

    It is not in evaluations of earlier versions, nor of very few clips. Only alike numbers stand beside each other.
    """
    entries = [entry for column in columns for entry in entries_of_sets(metric, column) if entry is not None]
    return all(entry.get("corrected") is not None for entry in entries if entry["value"] is not None)


def entries_of_sets(metric: str, column: Column) -> list[dict[str, Any] | None]:
    """Return what each seed of a column has of a distance between sets."""
    seeds = [evaluation.distributions.get(metric) for evaluation in column.evaluations]
    return [seed and (seed["columns"].get(column.reference) if column.reference else seed) for seed in seeds]


def score_of(metric: str, column: Column, recordings: Sequence[str], correct: bool = True) -> MetricValue | None:
    """Return a metric of a column, averaged over its seeds; None where it has none.

    Args:
        metric: Name of the metric.
        column: The column.
        recordings: The recording of each clip.
        correct: Whether a distance between sets is the one corrected for its bias.
    """
    if of_set := column.evaluations[0].distributions.get(metric):
        return score_of_sets(entries_of_sets(metric, column), of_set["clips"], correct)
    values = [column.values(evaluation, metric) for evaluation in column.evaluations]
    if any(not seed for seed in values):
        return None
    averaged = seeds_over_recordings(values, recordings, LEVEL)
    if not averaged.clips.count:
        return None
    by_seed = {} if column.reference else dict(zip(column.seeds, map(list, values), strict=True))
    return MetricValue(averaged.clips, averaged.values, averaged.means, averaged.deviation, by_seed=by_seed)


def score_of_sets(seeds: Sequence[dict[str, Any] | None], clips: int, correct: bool) -> MetricValue | None:
    """Return the mean distance over seeds; the ends of the interval averaged too, which makes it rather too wide."""
    found = [seed for seed in seeds if seed is not None and seed["value"] is not None]
    if len(found) < len(seeds):
        return None
    plain = [seed["value"] for seed in found]
    values = [seed["corrected"] for seed in found] if correct else plain
    low, high = (_mean([_number(seed[end]) if correct else math.nan for seed in found]) for end in ("low", "high"))
    mean = _mean(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)) if len(values) > 1 else math.nan
    interval, uncorrected = Interval(mean, low, high, clips), _mean(plain) if correct else math.nan
    return MetricValue(interval, [], values, deviation, uncorrected=uncorrected)


def difference_of(ours: MetricValue, baseline: MetricValue, recordings: Sequence[str]) -> Difference:
    """Return the paired difference over recordings; of distances between sets the plain one, without a test."""
    if ours.values and baseline.values:
        return network_difference(ours.values, baseline.values, recordings, LEVEL)
    mean = ours.interval.mean - baseline.interval.mean
    return Difference(mean, math.nan, math.nan, min(ours.interval.count, baseline.interval.count), math.nan)


def remarks(columns: Sequence[Column], metrics: dict[str, dict[str, Any]]) -> list[str]:
    """Return what has to be known to read the numbers right: what is missing, of how many clips and seeds."""
    runs = [column for column in columns if not column.reference]
    notes = remarks_on_choice(runs)
    if len({tuple(column.seeds) for column in runs}) > 1:
        notes.append("seeds differ: " + ", ".join(f"{c.name} {', '.join(map(str, c.seeds))}" for c in runs))
    single = [column.name for column in runs if len(column.seeds) < 2]
    if single and len(runs) > 1:
        notes.append(f"no statement about the method where there is one seed ({', '.join(single)}): train more seeds")
    for column in runs:
        if column.changes is None:
            notes.append(f"{column.name}: no config.yaml that can be read, so its hyperparameters are not known")
        for evaluation in column.evaluations:
            notes += run_folder_of(evaluation).damages()
            of = f"{column.name}, seed {evaluation.seed}" if len(column.evaluations) > 1 else column.name
            for metric, clips in evaluation.notes.items():
                if metric in metrics or metric == "audio":
                    notes.append(f"{of}: no {metric} of {len(clips)} clips ({next(iter(clips.values()))})")
            reasons: dict[str, list[str]] = {}
            for metric, why in evaluation.missing.items():
                reasons.setdefault(why, []).append(metric)
            notes += [f"{of}: not measured: {', '.join(names)} ({why})" for why, names in reasons.items()]
    if differ := [c.name for c in runs if not _alike(_griffin_lim(c), _griffin_lim(runs[0]))]:
        notes.append(f"Griffin-Lim is from the mels of {runs[0].name}; those of {', '.join(differ)} are others")
    return list(dict.fromkeys(notes))


def remarks_on_choice(runs: Sequence[Column]) -> list[str]:
    """Return a remark if a comparison reports on clips that chose a checkpoint or that training watched."""
    evaluations = [evaluation for column in runs for evaluation in column.evaluations]
    if any(evaluation.data.get("split") != "validation" for evaluation in evaluations):
        return []
    chosen = [c.name for c in runs if any(Path(e.checkpoint).stem.startswith("best") for e in c.evaluations)]
    if chosen:
        return [f"the checkpoint of {', '.join(chosen)} was chosen on these clips: report on `--split test`"]
    return ["validation clips, which every training watched: report on `--split test` where the data have test clips"]


def audio_of(comparison: Comparison, clip: str) -> dict[str, Path]:
    """Return the wav files of a clip by column; a column of several seeds is heard by its first."""
    paths = {column.name: column.audio(clip) for column in comparison.columns}
    return {name: path for name, path in paths.items() if path.exists()}


def _griffin_lim(column: Column) -> Any:
    return column.evaluations[0].columns.get("griffin_lim")


def _alike(values: Any, others: Any) -> bool:
    """Compare values by clip and metric, but for rounding: libraries sum in an order that is not theirs to say."""
    if isinstance(values, dict) and isinstance(others, dict):
        return values.keys() == others.keys() and all(_alike(values[name], others[name]) for name in values)
    if isinstance(values, list) and isinstance(others, list):
        return len(values) == len(others) and all(map(_alike, values, others))
    if isinstance(values, float) and isinstance(others, float):
        return math.isclose(values, others, rel_tol=1e-6, abs_tol=1e-9)
    return bool(values == others)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _number(value: float | None) -> float:
    return math.nan if value is None else value
