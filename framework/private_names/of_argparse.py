"""Private names of argparse."""

from typing import Any


def actions_of(parser: Any) -> list[Any]:
    """Return the arguments that a parser has; argparse offers no way to list them."""
    return parser._actions
