"""Logging scalars to a CSV file that survives crashes and resumes."""

import csv
import io
import os
import sys
from argparse import Namespace
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from framework.runs.stored_files import DamagedFileError, read_metrics
from framework.writing import Tolerant, WriteError, replacing

WAITING = 10_000
"""Maximum number of rows kept in memory while they cannot be written; older rows are lost."""


class CSVLog(Logger):
    """Logger that appends a row to `metrics.csv` for each group of values that are logged together.

    A row is written as soon as it is logged, so that a killed process loses no complete row. While the disk is full,
    the last `WAITING` rows are kept in memory.
    A new name becomes a new column; the file is then rewritten atomically. A file that exists is continued (Lightning's
    own CSVLogger deletes it); a damaged file is renamed, and a new one started.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns: list[str] | None = None
        self._waiting: deque[dict[str, Any]] = deque(maxlen=WAITING)
        self._tolerant = Tolerant("rows of metrics.csv")
        self._rewind_to: tuple[int, bool] | None = None

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Empty: a run folder has one log."""
        return ""

    @property
    def save_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @property
    def log_dir(self) -> str:
        """The run folder."""
        return str(self.path.parent)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Do nothing: hyperparameters are in the run's `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Append a row of values by name; `step` counts generator updates."""
        self._waiting.append({"step": step, **{n: v.item() if hasattr(v, "item") else v for n, v in metrics.items()}})
        self._write()

    def _write(self) -> None:
        """Write all pending rows; those that cannot be written remain pending."""
        with self._tolerant:
            try:
                self._rewind()
                while self._waiting:
                    self._append(self._waiting[0])
                    self._waiting.popleft()
            except DamagedFileError as error:
                self._set_aside(error)
            except OSError as error:
                raise error if isinstance(error, WriteError) else WriteError(self.path, error) from error

    def _append(self, values: Mapping[str, Any]) -> None:
        columns = self._open()
        new = [name for name in values if name not in columns]
        if new:
            self._rewrite(columns + new, self.rows())
        line = memoryview(_line(values.get(name, "") for name in self._open()).encode())
        with self.path.open("ab", buffering=0) as file:
            begin = file.tell()
            try:
                while line:
                    line = line[file.write(line) :]
            except OSError:
                # An incomplete line may have been written; truncating the file needs no disk space.
                os.truncate(self.path, begin)
                raise

    @rank_zero_only
    def rewind(self, step: int, validated: bool = True) -> None:
        """Remove the rows after a step, which a run logged between its last checkpoint and its interruption.

        Args:
            step: The checkpoint's step.
            validated: Whether the validation of that step is kept.
        """
        self._rewind_to = step, validated
        self._write()

    def _rewind(self) -> None:
        if self._rewind_to is None:
            return
        rows, (step, validated) = self.rows(), self._rewind_to
        kept = [row for row in rows if not row["step"] or float(row["step"]) <= step]
        if not validated:
            kept = [row for row in kept if not (_is_validation(row) and row["step"] and float(row["step"]) == step)]
        if len(kept) < len(rows):
            self._rewrite(self._open(), kept)
        self._rewind_to = None

    def _set_aside(self, error: DamagedFileError) -> None:
        """Start a new file; pending rows are written with the next row."""
        aside = self.path.with_name("metrics.damaged.csv")
        os.replace(self.path, aside)
        self._columns = None
        print(f"warning: {error.damage}: renamed to {aside.name}, and a new file started", file=sys.stderr)

    def rows(self) -> list[dict[str, str]]:
        """Return all rows as text by column; missing values are empty.

        Raises:
            DamagedFileError: the file is not a table of metrics.
        """
        return read_metrics(self.path)

    def _open(self) -> list[str]:
        """Return the columns of the file; on first use an incomplete last line is removed."""
        if self._columns is None:
            header = None
            if self.path.exists():
                read_metrics(self.path)
                text = self.path.read_bytes()
                lines = text[: text.rfind(b"\n") + 1]
                header = next(csv.reader(io.StringIO(lines.decode(), newline="")), None)
                os.truncate(self.path, len(lines))
            self._columns = header or []
        return self._columns

    def _rewrite(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        """Replace the file atomically."""
        lines = [_line(columns), *(_line(row.get(name, "") for name in columns) for row in rows)]
        with replacing(self.path) as part, part.open("w", newline="") as file:
            file.writelines(lines)
        self._columns = columns


def _is_validation(row: Mapping[str, str]) -> bool:
    return any(value and name.startswith("validation/") for name, value in row.items())


def _line(values: Any) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(list(values))
    return buffer.getvalue()
