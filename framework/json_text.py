"""JSON from outside: text that is too large or nested too deeply is an error like any other."""

import json
from collections.abc import Mapping
from typing import Any

LARGEST = 1 << 26
"""Bytes; far more than anything that is stored as JSON here."""
DEEPEST = 64
"""Levels of nesting; what is stored here has fewer than twenty."""


def parse_json(text: bytes | str) -> Any:
    """Return what JSON text holds.

    Raises:
        ValueError: it is no JSON, larger than 64 MiB, or nested too deeply.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text):,} bytes of JSON, more than {LARGEST:,}")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    brackets = (b"[", b"{") if isinstance(text, bytes) else ("[", "{")
    if sum(map(text.count, brackets)) > DEEPEST:  # type: ignore[arg-type]
        check_depth(value)
    return value


def check_depth(value: Any) -> None:
    """Refuse nested lists and dictionaries of more levels than `DEEPEST`.

    Raises:
        ValueError: there are more.
    """
    level = [value]
    for _ in range(DEEPEST + 1):
        inner = [v for v in level if isinstance(v, (dict, list))]
        if not inner:
            return
        level = [item for v in inner for item in (v.values() if isinstance(v, Mapping) else v)]
    raise ValueError(f"nested too deeply (more than {DEEPEST} levels)")
