"""Reads JSON from untrusted files, with limits of size and nesting."""

import json
from collections.abc import Mapping
from typing import Any

LARGEST = 1 << 26
"""Maximum size (bytes), far above that of any JSON file of the project."""
DEEPEST = 64
"""Maximum depth of nesting; files of the project have fewer than 20 levels."""

LARGEST_WHOLE, LARGEST_FLOAT = 2**53, 1e300
"""Largest valid number; larger ones are neither counts nor measurements."""


def parse_json(text: bytes | str) -> Any:
    """Parse JSON text.

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
    """Check that lists and dictionaries have at most `DEEPEST` levels.

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


def check_kinds(value: Any, kinds: Any, place: str = "it") -> None:
    """Check the structure of an untrusted document.

    Args:
        value: What JSON or YAML held.
        kinds: `str`, `bool`, `int` or `float` (whole numbers are floats, NaN and bool are not); None; `Any`; `[kind]`
            for a list; `{str: kind}` for a dictionary of any names; `{"name": kind, "other?": kind}` for one that has
            these names, those with a question mark perhaps; and a tuple of several kinds, of which one has to fit.
        place: Name of the value in the message.

    Raises:
        ValueError: naming the first place with another kind of value.
    """
    if isinstance(kinds, dict) and isinstance(value, dict):
        if str in kinds:
            for name, item in value.items():
                check_kinds(name, str, f"a name in {place}")
                check_kinds(item, kinds[str], _inside(place, name))
            return
        for key, kind in kinds.items():
            name = key.removesuffix("?")
            if name in value:
                check_kinds(value[name], kind, _inside(place, name))
            elif name == key:
                raise ValueError(f"{_inside(place, name)} is missing")
    elif isinstance(kinds, list) and isinstance(value, list):
        for number, item in enumerate(value):
            check_kinds(item, kinds[0], f"{place}[{number}]")
    elif isinstance(kinds, tuple):
        _check_one_of(value, kinds, place)
    elif not (kinds is Any or (kinds is None and value is None) or _is_of(value, kinds)):
        raise ValueError(f"{place} is {value!r:.40}")


def _check_one_of(value: Any, kinds: tuple, place: str) -> None:
    said = ""
    for kind in kinds:
        try:
            check_kinds(value, kind, place)
            return
        except ValueError as error:
            said = str(error) if not said or "[" in str(error) else said
    raise ValueError(said)


def _is_of(value: Any, kind: Any) -> bool:
    if kind in (int, float):
        is_number = isinstance(value, (int, kind)) and not isinstance(value, bool)
        return is_number and abs(value) <= (LARGEST_WHOLE if kind is int else LARGEST_FLOAT)
    return isinstance(kind, type) and isinstance(value, kind)


def _inside(place: str, name: str) -> str:
    return name if place == "it" else f"{place}.{name:.40}"
