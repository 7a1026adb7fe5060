"""The stored evaluation of a run: generated audio of the held-out clips, and metrics.

An evaluation is a folder, `<run>/evaluation/<name>/`, with the audio of each clip, `audio/<clip>/truth.wav`,
`generated.wav` and `griffin_lim.wav`, and with `values.json`, which holds the fields of `Evaluation`.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from framework.audio.files import safe_name
from framework.errors import InvalidValueError, OstinatoError
from framework.evaluation.inference import mean_over_recordings, recording_of
from framework.evaluation.metrics.distribution import FORMER_NAMES, with_present_names
from framework.evaluation.statistics import Interval
from framework.frames import data_frame, html_table
from framework.json_text import check_kinds, parse_json
from framework.os_errors import explain
from framework.writing import write_atomically

if TYPE_CHECKING:
    import pandas

VERSION = 1
FILE = "values.json"


class EvaluationError(OstinatoError, ValueError):
    """A run cannot be evaluated, or an evaluation cannot be read."""


_TITLES = {"title": str, "unit": str, "better": str, "source": str}
_VALUES = [(float, None)]
KINDS: dict[str, Any] = {
    **dict.fromkeys(("run", "family", "experiment", "checkpoint"), str),
    **dict.fromkeys(("step", "seed", "sample_rate"), int),
    "data": {str: (str, float, bool, None)},
    "clips": [str],
    "recordings?": [str],
    "metrics": {str: {"values": _VALUES, **_TITLES}},
    "distributions": {str: {"value": (float, None), **_TITLES, "columns?": {str: {str: Any}}}},
    "missing": {str: str},
    "notes": {str: {str: str}},
    "cost": {
        "device?": (str, None),
        **{f"{n}?": (float, None) for n in ("parameters", "real_time_factor", "seconds_per_step", "peak_memory")},
    },
    "columns": {str: {str: _VALUES}},
}
"""Types of the entries of `values.json`."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Args:
        run: Signature of the run.
        family: Signature without the seed: what runs share that differ in it alone.
        experiment: Module of the experiment.
        step: Training step of the weights.
        checkpoint: File that they are from; empty for a system without weights.
        data: `class`, `fingerprint` and `split` of the held-out clips.
        seed: Seed of the run.
        seconds_per_step: What a training step took, if it is known.
    """

    run: str
    family: str
    experiment: str
    step: int
    checkpoint: str
    data: dict[str, Any]
    seed: int = 0
    seconds_per_step: float | None = None


@dataclass
class Evaluation:
    """Everything measured of one run; a list of values has one for each of `clips`, None where there is none.

    Args:
        folder: Where it lies.
        run: As of a `Subject`; so are the next six.
        family: See `Subject`.
        experiment: See `Subject`.
        step: See `Subject`.
        checkpoint: See `Subject`.
        data: See `Subject`.
        seed: See `Subject`.
        sample_rate: The sample rate of the audio (Hz).
        clips: Names of the held-out clips.
        recordings: The recording that each clip is a part of; see `recording_of` for evaluations without it.
        metrics: `{name: {"values", "title", "unit", "better": "lower" | "higher" | "nearer", "source"}}`;
            nearer to what is held out.
        distributions: Distances between sets of clips, `{name: {"value", "corrected", "low", "high", "clips", "title",
            "unit", "better", "source", "columns": {column: {"value", "corrected", "low", "high"}}}}`: the distance as
            papers report it, and corrected for its bias with the interval (see `jackknife`), None where it cannot be.
            Evaluations of earlier versions have no `corrected`, and their intervals are not used.
        missing: Why metrics that were asked for are not there.
        notes: Why single clips have no value, `{metric: {clip: why}}`.
        cost: `parameters` of the generator, `real_time_factor` (seconds a second of audio takes), `seconds_per_step`
            of the training, `device`, `peak_memory` (bytes) while a clip is generated, of a GPU what torch holds
            there, else the whole process.
        columns: The same metrics of other audio of the same clips, `{"griffin_lim" | "truth": {metric: [values]}}`.
    """

    folder: Path
    run: str
    family: str
    experiment: str
    step: int
    checkpoint: str
    data: dict[str, Any]
    seed: int
    sample_rate: int
    clips: list[str] = field(default_factory=list)
    recordings: list[str] = field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    distributions: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    notes: dict[str, dict[str, str]] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)

    def interval(self, metric: str, column: str = "") -> Interval:
        """Return the mean over recordings with its 95 % interval, of the run or of a column; none where there is none.

        Raises:
            KeyError: there is no such metric.
        """
        own = self.metrics[metric]["values"]
        values = self.columns.get(column, {}).get(metric, []) if column else own
        return mean_over_recordings(values, self.grouping[: len(values)])

    @property
    def grouping(self) -> list[str]:
        """The recording of each clip; derived from the clip's name if it was not stored."""
        return self.recordings or [recording_of(clip) for clip in self.clips]

    def audio(self, clip: str) -> Path:
        """Return the folder of a clip's audio."""
        return self.folder / "audio" / safe_name(clip)

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each metric: mean over clips with 95 % interval, also of ground truth and Griffin-Lim.

        For distances between sets, the values are corrected for their bias if possible.
        """
        found: list[dict[str, Any]] = []
        for name, metric in self.metrics.items():
            interval = self.interval(name)
            beside = {column: self.interval(name, column).mean for column in self.columns}
            row = {"metric": name, "mean": interval.mean, "low": interval.low, "high": interval.high}
            found.append(row | {"clips": interval.count, "better": metric["better"]} | beside)
        for name, metric in self.distributions.items():
            mean = metric["value"] if metric.get("corrected") is None else metric["corrected"]
            row = {"metric": name, "mean": mean, "low": metric["low"], "high": metric["high"]}
            found.append(row | {"clips": metric["clips"], "better": metric["better"]})
        return found

    def table(self) -> "pandas.DataFrame":
        """Return the rows as a pandas DataFrame, indexed by metric.

        Raises:
            MissingPackageError: pandas is not installed; `rows()` needs none.
        """
        return data_frame(self.rows(), ["metric"])

    def _repr_html_(self) -> str:
        """Return the rows as a table."""
        return html_table(self.rows(), f"{self.experiment}, step {self.step}")

    def save(self) -> None:
        """Write `values.json`."""
        values = {"version": VERSION, **asdict(self)}
        del values["folder"]
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / FILE, json.dumps(values, indent=1, allow_nan=False) + "\n")


def _check_lengths(values: dict[str, Any]) -> None:
    """Check that all lists have one value per clip, and that directions and the sample rate are valid."""
    for name, metric in values["metrics"].items():
        if len(metric["values"]) != len(values["clips"]):
            raise InvalidValueError(
                f"metrics.{name} has {len(metric['values'])} values of {len(values['clips'])} clips"
            )
    recordings = values.get("recordings")
    if recordings and len(recordings) != len(values["clips"]):
        raise InvalidValueError(f"recordings are {len(recordings)} of {len(values['clips'])} clips")
    for name, metric in (values["metrics"] | values["distributions"]).items():
        if metric["better"] not in ("lower", "higher", "nearer"):
            raise InvalidValueError(f"{name} is better {metric['better']!r:.40}")
    if not 1 <= values["sample_rate"] <= 10**6:
        raise InvalidValueError(f"sample_rate is {values['sample_rate']}")


def load_evaluation(path: str | Path) -> Evaluation:
    """Read an evaluation from its folder or its `values.json`.

    Raises:
        EvaluationError: the evaluation is missing, damaged or of another version.
    """
    path = Path(path)
    path = path if path.name == FILE else path / FILE
    if not path.is_file():
        raise EvaluationError(f"{path.parent} contains no finished evaluation; run `ostinato evaluate` on it")
    try:
        values = parse_json(path.read_text())
        check_kinds(values, {"version": int})
        version = values.pop("version")
        known = {f.name for f in fields(Evaluation)} - {"folder"}
        if version != VERSION or values.keys() | {"recordings"} != known:
            raise EvaluationError(f"{path} has version {version}, this program reads {VERSION}; evaluate again")
        check_kinds(values, KINDS)
        _check_lengths(values)
    except OSError as error:
        raise EvaluationError(f"{path} cannot be read: {explain(error)}") from None
    except EvaluationError:
        raise
    except ValueError as error:
        raise EvaluationError(f"{path} is not a valid evaluation ({error}); remove it and evaluate again") from None
    values["distributions"] = with_present_names(values["distributions"])
    values.setdefault("recordings", [])
    values["missing"] = {FORMER_NAMES.get(name, name): why for name, why in values["missing"].items()}
    return Evaluation(path.parent, **values)
