"""Rows of values as tables for a notebook: a pandas DataFrame, or HTML."""

import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from framework.errors import OstinatoError

if TYPE_CHECKING:
    import pandas

Rows = Sequence[Mapping[str, Any]]


class MissingPackageError(OstinatoError, ImportError):
    """A package that only notebooks need is not installed; the message names it."""


def data_frame(rows: Rows, index: Sequence[str] = ()) -> "pandas.DataFrame":
    """Return rows as a pandas DataFrame.

    Args:
        rows: A dictionary a row.
        index: Names of the columns that become the index.

    Raises:
        MissingPackageError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError("pandas is not installed, which tables are made with: pip install pandas") from error
    frame = pandas.DataFrame(list(rows))
    return frame.set_index(list(index)) if index and len(frame) else frame


def html_table(rows: Rows, caption: str = "") -> str:
    """Return rows as an HTML table, a column for each name in any of them."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row.get(name))}</td>" for name in names) + "</tr>" for row in rows)
    title = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return html.escape(f"{value:.4g}" if isinstance(value, float) else str(value))
