"""A parser whose errors are one line."""

from typing import Any

from lightning.pytorch.cli import LightningArgumentParser

from framework.errors import OstinatoError
from framework.hyperparameters import nearest


class UsageError(OstinatoError, ValueError):
    """A command line that names something that does not exist or has the wrong type."""


class OneLineParser(LightningArgumentParser):
    """A parser whose errors are one line with the nearest right name, never a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise the error as one line."""
        lines = [line.strip() for line in message.splitlines() if line.strip()]
        if lines and lines[0].startswith("unrecognized arguments:"):
            name = lines[0].split()[2].partition("=")[0]
            known = [o for a in self._actions for o in a.option_strings if o.startswith("--")]
            raise UsageError(f"no argument {name}: {nearest(name, known)}") from None
        text = " ".join(lines).replace("Parser key ", "").replace("typing.", "")
        raise UsageError(text.replace("<class '", "").replace("'>", "")) from None
