"""Parsers whose errors are one line. Nothing here imports torch or Lightning, so that help appears at once."""

import sys
from collections.abc import Sequence
from typing import Any, ClassVar

import jsonargparse

from framework.errors import OstinatoError
from framework.hyperparameters import nearest
from framework.private_names.of_argparse import actions_of


class UsageError(OstinatoError, ValueError):
    """A command line that names something that does not exist or has the wrong type."""


class OneLineErrors:
    """Mixin for parsers: errors are one line with the nearest right name, and help ends with examples.

    Attributes:
        examples: Command lines, shown at the end of the help.
        has_short_help: Whether the help is short enough to be printed where an argument is missing.
    """

    examples: Sequence[str] = ()
    has_short_help: ClassVar[bool] = True

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise the error as one line.

        Raises:
            UsageError: always.
        """
        this: Any = self
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        text = " ".join(lines).replace("Parser key ", "").replace("typing.", "").replace("<class '", "")
        text = text.replace("'>", "")
        if text.startswith("unrecognized arguments:"):
            name = lines[0].split()[2].partition("=")[0]
            is_option = name.startswith("-")
            text = f"no argument {name}: {nearest(name, option_strings(self))}" if is_option else f"unexpected {name!r}"
        if not self.has_short_help:
            raise UsageError(text) from None
        if "arguments are required" in text:
            print(self.format_help(), file=sys.stderr)
        raise UsageError(f"{this.prog}: {text} (`{this.prog} --help` lists all options)") from None

    def format_help(self, *args: Any) -> str:
        """Return the help with the examples."""
        text: str = super().format_help(*args)  # type: ignore[misc]
        if not self.examples:
            return text
        title = "examples" if len(self.examples) > 1 else "example"
        return "\n".join([text.rstrip(), "", f"{title}:", *(f"  {line}" for line in self.examples), ""])


class OneLineParser(OneLineErrors, jsonargparse.ArgumentParser):
    """A parser with the types of Python annotations."""


def option_strings(parser: Any) -> list[str]:
    """Return all long options of a parser."""
    return [option for action in actions_of(parser) for option in action.option_strings if option.startswith("--")]
