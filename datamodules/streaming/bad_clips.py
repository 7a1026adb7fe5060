"""An account of the clips that cannot be used: each is named, counted, and too many of them end the run."""

import collections
import logging
from collections.abc import Mapping

from framework.errors import OstinatoError

_log = logging.getLogger(__name__)
_SHOWN = 10


class TooManyBadClipsError(OstinatoError, ValueError):
    """More clips are bad than the run is willing to do without."""


class BadClips:
    """The bad clips met so far.

    Args:
        clips: How many clips there are.
        share: Part of them that may be bad; one may always be.
        found: Those that are known already: what is wrong with each, by name.
    """

    def __init__(self, clips: int, share: float, found: Mapping[str, str] | None = None) -> None:
        self.clips, self.share = clips, share
        self.found = dict(found or {})

    def add(self, errors: Mapping[str, tuple[str, str]]) -> None:
        """Count clips that are bad: `{name: (kind, details)}`; those known already are not counted again.

        Raises:
            TooManyBadClipsError: there are now too many; with their names and what is wrong with them.
        """
        new = {name: error for name, error in errors.items() if name not in self.found}
        for name, (kind, detail) in list(new.items())[:_SHOWN]:
            _log.warning("%s cannot be used (%s): another clip takes its place", name, detail or kind)
        if len(new) > _SHOWN:
            _log.warning("%d more clips cannot be used", len(new) - _SHOWN)
        self.found |= {name: kind for name, (kind, _) in new.items()}
        if new and len(self.found) > max(1, self.share * self.clips):
            listed = [f"{name} ({detail or kind})" for name, (kind, detail) in list(new.items())[:_SHOWN]]
            raise TooManyBadClipsError(
                f"{len(self.found)} of {self.clips} clips cannot be used ({self.summary}), more than the allowed share "
                f"of {self.share:g}: repair or remove them, or raise --data.bad_share. Among them: {', '.join(listed)}"
            )

    @property
    def counts(self) -> dict[str, int]:
        """How many clips are bad, by kind."""
        return dict(collections.Counter(self.found.values()).most_common())

    @property
    def details(self) -> list[str]:
        """Names of the first clips, each with its kind."""
        listed = [f"{name}: {kind}" for name, kind in list(self.found.items())[:_SHOWN]]
        return listed + ([f"and {len(self.found) - _SHOWN} more"] if len(self.found) > _SHOWN else [])

    @property
    def lost_held_out(self) -> str:
        """What is to be said of these clips, if they are held-out ones."""
        clips = "clip" if len(self.found) == 1 else "clips"
        return f"{len(self.found)} held-out {clips} could not be used: {'; '.join(self.details)}" if self.found else ""

    @property
    def summary(self) -> str:
        """The counts as a phrase."""
        return ", ".join(f"{count} {kind}" for kind, count in self.counts.items()) or "none"
