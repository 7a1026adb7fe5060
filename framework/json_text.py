"""JSON from outside: text that is too large or nested too deeply is an error like any other."""

import json
from typing import Any

LARGEST = 1 << 26
"""Bytes; far more than anything that is stored as JSON here."""


def parse_json(text: bytes | str) -> Any:
    """Return what JSON text holds.

    Raises:
        ValueError: it is no JSON, larger than 64 MiB, or nested too deeply.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text):,} bytes of JSON, more than {LARGEST:,}")
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
