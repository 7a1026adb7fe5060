"""The stored record of a sweep, and the progress of its runs, read from their folders without torch."""

import contextlib
import io
import json
import math
import shlex
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from framework.errors import InvalidValueError
from framework.hyperparameters import nearest
from framework.json_text import check_kinds, parse_json
from framework.runs.folder import RunFolder, State
from framework.runs.locks import lock
from framework.runs.stored_files import TAIL, DamagedFileError, read_metrics
from framework.sweeps.find import is_sweep_name
from framework.writing import write_atomically

ATTEMPT = "=== "
"""What the line begins with that says in a log by which command an attempt was made."""


KINDS: dict[str, Any] = {
    **dict.fromkeys(("label", "experiment", "path", "signature", "family"), str),
    **{f"{name}?": str for name in ("monitor", "note")},
    **{f"{name}?": int for name in ("max_steps", "interval", "batch_size")},
    **{"arguments": [str], "seed": int, "values?": {str: Any}, "outdated?": bool},
}
"""Kinds of the entries of a run in the file of a sweep."""


@dataclass(frozen=True)
class PlannedRun:
    """One run of a sweep.

    Args:
        label: What distinguishes it in the sweep, such as `Full model.mel_weight=15`.
        experiment: The experiment's name.
        arguments: Overrides on the command line of `ostinato fit`.
        path: The run's folder.
        signature: Hash of the run's identity.
        family: The same without the seed.
        seed: The run's seed.
        values: The grid's values by name.
        max_steps: Steps of the whole training.
        interval: Steps between two validations.
        batch_size: Segments of a step.
        monitor: The metric of the held-out clips that the best checkpoint is chosen by.
        note: Remark that is shown before the run starts.
        outdated: Whether there is such a run that was trained by other code.
    """

    label: str
    experiment: str
    arguments: tuple[str, ...]
    path: Path
    signature: str
    family: str
    seed: int
    values: dict[str, Any] = field(default_factory=dict)
    max_steps: int = -1
    interval: int = 1
    batch_size: int = 1
    monitor: str = ""
    note: str = ""
    outdated: bool = False

    @property
    def folder(self) -> RunFolder:
        """The run's folder."""
        return RunFolder(self.path)

    @property
    def log(self) -> Path:
        """Output of the run, with every attempt appended."""
        return self.path / "log.txt"

    @property
    def failure_file(self) -> Path:
        """Reason why the last attempt failed; removed by the next attempt."""
        return self.folder.failure_file

    def command(self, program: Sequence[str] = ("ostinato",)) -> list[str]:
        """Return the command that trains or resumes the run."""
        return [*program, "fit", self.experiment, *self.arguments]

    def state(self) -> State:
        """Return the state of the run."""
        return self.folder.state()

    def fail(self, status: str) -> None:
        """Store the reason why the run failed."""
        self.path.mkdir(parents=True, exist_ok=True)
        failure = {"status": status, "time": time.time(), "last": last_lines(self.log)}
        write_atomically(self.failure_file, json.dumps(failure, indent=1))

    def failure(self) -> tuple[str, list[str]]:
        """Return how the last attempt ended and the last lines of its log."""
        try:
            stored = parse_json(self.failure_file.read_text())
            check_kinds(stored, {"status": str, "last": [str]})
            return stored["status"], stored["last"]
        except (OSError, ValueError):
            return "unknown", last_lines(self.log)

    @contextlib.contextmanager
    def claimed(self) -> Iterator[bool]:
        """Claim the run, so that no other sweep starts it; yields False if another sweep has it."""
        self.path.mkdir(parents=True, exist_ok=True)
        with lock(self.path / ".claim") as taken:
            yield taken


@dataclass(frozen=True)
class Progress:
    """Progress of a run: its last step, the latest value of its metric, and the median time of a step (s)."""

    step: int = 0
    metric: float | None = None
    seconds_per_step: float | None = None


def progress(run: PlannedRun) -> Progress:
    """Read the progress of a run from the end of its `metrics.csv`; empty if the file is damaged."""
    rows = newest_rows(run, TAIL)
    steps = [int(row["step"]) for row in rows if row.get("step")]
    metrics = [float(row[run.monitor]) for row in rows if row.get(run.monitor)]
    rates = [float(row["speed/samples_per_second"]) for row in rows if row.get("speed/samples_per_second")]
    seconds = run.batch_size / statistics.median(rates) if rates and statistics.median(rates) else None
    return Progress(max(steps, default=0), metrics[-1] if metrics else None, seconds)


def metric_at(run: PlannedRun, step: int, metric: str) -> float | None:
    """Return a metric of a run at a step; None if it was not measured."""
    for row in newest_rows(run):
        if row.get("step") == str(step) and row.get(metric):
            value = float(row[metric])
            return value if math.isfinite(value) else math.inf
    return None


def newest_rows(run: PlannedRun, size: int | None = None) -> list[dict[str, str]]:
    """Return the rows among so many bytes at the end of a run's `metrics.csv`; none of a damaged one."""
    try:
        return read_metrics(run.folder.metrics, size)
    except DamagedFileError:
        return []


def last_lines(path: Path, count: int = 8) -> list[str]:
    """Return the last lines of a log's last attempt that are not empty."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, file.seek(0, io.SEEK_END) - 20_000))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    text = text.replace("\r\n", "\n").rpartition(f"\n{ATTEMPT}")[2].partition("\n")[2] if ATTEMPT in text else text
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line for line in lines if line.strip()][-count:]


def record_path(root: str | Path, name: str) -> Path:
    """Return the file that a sweep is kept in, in the folder of all runs."""
    return Path(root) / "sweeps" / f"{name}.json"


def write_record(root: str | Path, name: str, question: str, runs: Sequence[PlannedRun]) -> Path:
    """Store the runs of a sweep, for `ostinato status` and for comparisons."""
    path = record_path(root, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    listed = [asdict(run) | {"path": str(run.path.relative_to(root))} for run in runs]
    write_atomically(path, json.dumps({"version": 1, "name": name, "question": question, "runs": listed}, indent=1))
    return path


def sweep_command(root: str | Path, name: str) -> str:
    """Return the command line that makes the runs of a sweep in a folder of runs."""
    return shlex.join(["ostinato", "sweep", name, *([] if str(root) == "runs" else ["--runs", str(root)])])


def _how_to_start(root: str | Path, name: str, known: Sequence[str]) -> str:
    if is_sweep_name(name):
        return f"run the sweep first: `{sweep_command(root, name)}`"
    return nearest(name, known) if known else "none has been started there (`ostinato sweep NAME` starts one)"


def read_record(root: str | Path, name: str) -> tuple[str, list[PlannedRun]]:
    """Return a sweep's question and its runs.

    Raises:
        ValueError: no sweep of this name has been started there, or its file is damaged.
    """
    path = record_path(root, name)
    known = [found.stem for found in path.parent.glob("*.json")]
    if name not in known:
        raise InvalidValueError(f"no sweep {name!r} in {root}: {_how_to_start(root, name, known)}")
    try:
        stored = parse_json(path.read_text())
        check_kinds(stored, {"question": str, "runs": [KINDS]})
        runs = [
            PlannedRun(**run | {"arguments": tuple(run["arguments"]), "path": Path(root) / run["path"]})
            for run in stored["runs"]
        ]
        return stored["question"], runs
    except (ValueError, TypeError) as error:
        raise InvalidValueError(f"{path} is damaged ({error}): `{sweep_command(root, name)}` writes it again") from None
