"""Scalars in a plain CSV file that outlives crashes and resumes: the local truth, whatever becomes of a server."""

import csv
import io
import os
import sys
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class CSVLog(Logger):
    """Logger that appends one row to `metrics.csv` for each group of values logged together.

    A row is handed to the operating system as soon as it is logged, so a killed process loses none that was complete;
    while the disk is full, rows wait in memory.
    A name that was not logged before becomes a new column; the file is then written anew beside the old one and moved
    in its place. A file that exists is continued (Lightning's own CSVLogger deletes it).

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: str | Path) -> None:
        super().__init__()
        self.path = Path(folder) / "metrics.csv"
        self._columns: list[str] | None = None
        self._waiting: list[dict[str, Any]] = []

    @property
    def name(self) -> str:
        """The run folder's name."""
        return self.path.parent.name

    @property
    def version(self) -> str:
        """Nothing: a run folder has one log."""
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
        try:
            while self._waiting:
                self._append(self._waiting[0])
                del self._waiting[0]
        except OSError as error:
            # The line may be there in part: the next attempt cuts it off first.
            self._columns = None
            if len(self._waiting) == 1:
                print(f"warning: {self.path} cannot be written ({error}): its rows wait", file=sys.stderr)

    def _append(self, values: Mapping[str, Any]) -> None:
        columns = self._open()
        new = [name for name in values if name not in columns]
        if new:
            self._rewrite(columns + new, self.rows())
        with self.path.open("a", newline="") as file:
            file.write(_line(values.get(name, "") for name in self._open()))

    @rank_zero_only
    def rewind(self, step: int) -> None:
        """Drop the rows after a step: what a run logged between its last checkpoint and its interruption."""
        rows = self.rows()
        kept = [row for row in rows if not row["step"] or int(row["step"]) <= step]
        if len(kept) < len(rows):
            self._rewrite(self._open(), kept)

    def rows(self) -> list[dict[str, str]]:
        """Return all rows as text by column; a value that was not logged is empty."""
        if not self.path.exists():
            return []
        return list(csv.DictReader(io.StringIO(_complete_lines(self.path), newline="")))

    def _open(self) -> list[str]:
        """Return the columns of the file; on first use a line that a crash left half written is cut off."""
        if self._columns is None:
            header = None
            if self.path.exists():
                lines = _complete_lines(self.path)
                header = next(csv.reader(io.StringIO(lines, newline="")), None)
                os.truncate(self.path, len(lines.encode()))
            self._columns = header or []
        return self._columns

    def _rewrite(self, columns: list[str], rows: list[dict[str, str]]) -> None:
        """Replace the file in one move, so that at every moment a whole one is there."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        lines = [_line(columns), *(_line(row.get(name, "") for name in columns) for row in rows)]
        with unfinished.open("w", newline="") as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, self.path)
        self._columns = columns


def _complete_lines(path: Path) -> str:
    text = path.read_bytes()
    return text[: text.rfind(b"\n") + 1].decode()


def _line(values: Any) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerow(list(values))
    return buffer.getvalue()
