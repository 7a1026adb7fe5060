"""YAML from outside: text that is too large, nested too deeply, or grows by its aliases is an error like any other.

A few hundred bytes of YAML can stand for gigabytes: each of nine lists names the one before it nine times ("billion
laughs"). So the text is read as events first, which build nothing.
"""

import re
from typing import Any

import yaml

LARGEST = 1 << 19
"""Characters; a run's config.yaml has about ten thousand."""
DEEPEST = 64
"""Levels of nesting."""
MOST = 100_000
"""Values, those that aliases repeat counted each time."""
_LONGEST_NUMBER = 100
_SHORT = 1 << 15
_NUMBER = re.compile(r"[-+]?(0[xb][\da-fA-F_]+|[\d_:.]+)")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def parse_yaml(text: str) -> Any:
    """Return what YAML text holds, in plain Python types.

    Raises:
        ValueError: it is no YAML, or breaks a limit of this module; the message names the line.
    """
    check_yaml(text)
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(_reason(error, text)) from None
    except (TypeError, AttributeError, KeyError, ArithmeticError, RecursionError) as error:
        # PyYAML's constructors of dates, numbers and merged mappings raise these for values of the wrong kind.
        raise ValueError(f"a value that cannot be read: {error}") from None


def check_yaml(text: str) -> None:
    """Refuse text that takes long to read or stands for too much.

    Raises:
        ValueError: it is larger than `LARGEST`, nested more deeply than `DEEPEST`, or stands for more than `MOST`
            values; or it is no YAML.
    """
    if len(text) > LARGEST:
        raise ValueError(f"{len(text):,} characters of YAML, more than {LARGEST:,}")
    sizes: dict[str, int] = {}
    # Anchor and number of values of each mapping and list that is open; the outermost stands for the document.
    opened: list[tuple[str | None, int]] = [(None, 0)]
    try:
        for event in yaml.parse(text, _Loader):
            size = 0
            if isinstance(event, yaml.CollectionStartEvent):
                opened.append((event.anchor, 1))
            elif isinstance(event, yaml.CollectionEndEvent):
                anchor, size = opened.pop()
                sizes |= {anchor: size} if anchor else {}
            elif isinstance(event, yaml.ScalarEvent):
                size = 1
                sizes |= {event.anchor: size} if event.anchor else {}
                _check_number(event)
            elif isinstance(event, yaml.AliasEvent):
                if any(anchor == event.anchor for anchor, _ in opened):
                    raise ValueError(f"{_line(event.start_mark)}: the alias *{event.anchor} is inside what it names")
                size = sizes.get(event.anchor, 1)
            anchor, inner = opened[-1]
            opened[-1] = (anchor, inner + size)
            if len(opened) > DEEPEST + 1:
                raise ValueError(f"{_line(event.start_mark)}: nested too deeply (more than {DEEPEST} levels)")
            if inner + size > MOST:
                raise ValueError(f"{_line(event.start_mark)}: more than {MOST:,} values, with those of aliases")
    except yaml.YAMLError as error:
        raise ValueError(_reason(error, text)) from None


def _check_number(event: yaml.ScalarEvent) -> None:
    # A number of a million digits, or of minutes and seconds, takes minutes to make.
    if not event.style and len(event.value) > _LONGEST_NUMBER and _NUMBER.fullmatch(event.value):
        raise ValueError(f"{_line(event.start_mark)}: a number of {len(event.value):,} digits")


def _line(mark: yaml.Mark) -> str:
    return f"line {mark.line + 1}"


def _reason(error: yaml.YAMLError, text: str) -> str:
    # The messages of PyYAML's own parser are better than those of libyaml, but it is slow.
    if len(text) < _SHORT and text.count("[") + text.count("{") < DEEPEST:
        try:
            list(yaml.parse(text, yaml.SafeLoader))
        except yaml.YAMLError as clearer:
            error = clearer
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    said = f"{_line(mark)}: {problem}" if mark and problem else str(error)
    return " ".join(said.split())[:120]
