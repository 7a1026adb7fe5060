"""Reading a run's files: one reader for each, and one error for damaged files.

Nothing here imports torch.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from framework.errors import OstinatoError
from framework.json_text import parse_json
from framework.yaml_text import parse_yaml

TAIL = 1 << 18
"""Bytes at the end of metrics.csv that are read for the latest values."""
SUMMARY: dict[str, Any] = {"steps": int, "minutes": (int, float), "clips": dict, "lost_held_out": dict}
"""Entries of a summary.json, and their types."""


CONFIG: dict[str, Any] = {
    "experiment": str,
    "identity": dict,
    "model": dict,
    "data": dict,
    "trainer": dict,
    "provenance": dict,
    "seed": int,
}
"""Parts of a config.yaml, and their types."""
PARTS = tuple(CONFIG)
"""Parts of a config.yaml that are required to rebuild a run."""


class RunError(OstinatoError, RuntimeError):
    """A run cannot continue; the message names the folder and what to do."""


class DamagedFileError(RunError):
    """A file of a run is damaged; the message names the file, the damage and what to do."""

    def __init__(self, path: Path, damage: str, remedy: str) -> None:
        self.damage = f"{path} is damaged ({damage})"
        super().__init__(f"{self.damage}: {remedy}")


def read_summary(path: Path, parts: Iterable[str] = ("steps",)) -> dict[str, Any] | None:
    """Return a run's `summary.json`, or None where there is none.

    Args:
        path: The file.
        parts: What has to be in it.

    Raises:
        DamagedFileError: it is cut short, or not such a file.
    """
    remedy = "`ostinato fit` measures the run again and writes it anew"
    text = _text(path, remedy)
    if text is None:
        return None
    try:
        summary = parse_json(text)
    except ValueError as error:
        raise DamagedFileError(path, _reason(error, text), remedy) from None
    if not isinstance(summary, dict):
        raise DamagedFileError(path, f"it holds a {type(summary).__name__}", remedy)
    _check_parts(path, summary, parts, SUMMARY, remedy)
    if not all(map(_is_table, summary.get("clips", {}).values())):
        raise DamagedFileError(path, "'clips' has something else than distances", remedy)
    return summary


def _is_table(columns: Any) -> bool:
    """Say whether this is `{column: {metric: number}}`."""
    return isinstance(columns, dict) and all(
        isinstance(row, dict) and all(isinstance(value, (int, float)) for value in row.values())
        for row in columns.values()
    )


def read_config(path: Path, parts: Iterable[str] = ()) -> dict[str, Any] | None:
    """Return a run's `config.yaml`, or None where there is none.

    Args:
        path: The file.
        parts: What has to be in it.

    Raises:
        DamagedFileError: it is cut short, or not such a file.
    """
    remedy = "`ostinato fit` writes it again"
    text = _text(path, remedy)
    if text is None:
        return None
    try:
        config = parse_yaml(text)
    except ValueError as error:
        raise DamagedFileError(path, _reason(error, text), remedy) from None
    if not isinstance(config, dict):
        damage = f"it holds a {type(config).__name__}" if text.strip() else "it is empty"
        raise DamagedFileError(path, damage, remedy)
    _check_parts(path, config, parts, CONFIG, remedy)
    return config


def _check_parts(path: Path, found: dict[str, Any], parts: Iterable[str], kinds: dict[str, Any], remedy: str) -> None:
    for name in parts:
        if name not in found:
            raise DamagedFileError(path, f"it has no {name!r}", remedy)
    for name, kind in kinds.items():
        if name in found and (not isinstance(found[name], kind) or isinstance(found[name], bool)):
            raise DamagedFileError(path, f"{name!r} is {str(found[name])[:40]!r}", remedy)


def read_metrics(path: Path, size: int | None = None) -> list[dict[str, str]]:
    """Return the rows of a run's `metrics.csv`, none where there is none; a value that was not logged is empty.

    The file may be growing: an incomplete last line is ignored.

    Args:
        path: The file.
        size: Bytes at its end that are read, beside the header; None for all.

    Raises:
        DamagedFileError: it is not such a file.
    """
    remedy = "restore it, or remove it: only its curves are lost"
    try:
        header, body = _ends(path, size)
        columns = next(csv.reader([header.decode()]), [])
        text = body.decode()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DamagedFileError(path, error.strerror or str(error), "check the disk") from None
    except UnicodeDecodeError:
        raise DamagedFileError(path, "it is no text", remedy) from None
    if columns and "step" not in columns:
        raise DamagedFileError(path, f"its columns are {', '.join(columns)[:80]!r}", remedy)
    try:
        rows = list(csv.DictReader(io.StringIO(text, newline=""), fieldnames=columns, restval=""))
    except csv.Error as error:
        raise DamagedFileError(path, str(error), remedy) from None
    for row in rows:
        if wrong := next((value for name, value in row.items() if name is None or not _is_number(value)), None):
            raise DamagedFileError(path, f"{str(wrong)[:40]!r} is no number", remedy)
    return rows


def _ends(path: Path, size: int | None) -> tuple[bytes, bytes]:
    """Return the first line of a file, and the whole lines among so many bytes at its end."""
    with open(path, "rb") as file:
        header = file.readline()
        begin = file.tell()
        length = file.seek(0, io.SEEK_END)
        start = begin if size is None else max(begin, length - size)
        file.seek(start)
        body = file.read()
    body = body[: body.rfind(b"\n") + 1]
    if start > begin:
        body = body[body.find(b"\n") + 1 :]
    return header if header.endswith(b"\n") else b"", body


def _is_number(value: str) -> bool:
    if value == "":
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _text(path: Path, remedy: str) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise DamagedFileError(path, "it is no text", remedy) from None
    except OSError as error:
        raise DamagedFileError(path, error.strerror or str(error), "check the disk") from None


def _reason(error: Exception, text: str) -> str:
    if not text.strip():
        return "it is empty"
    return " ".join(str(error).split())[:80]
