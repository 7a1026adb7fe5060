"""When this process last got on with its work: what a watchdog asks, and what everything that takes long reports."""

import time

_last = time.monotonic()


def alive(*_: object) -> None:
    """Report that something has been done: a step, a clip, a file, a part of a download.

    Data modules that prepare their data for long should call this as they go; see `guards.Watchdog`.
    """
    global _last
    _last = time.monotonic()


def seconds_since_alive() -> float:
    """Return the seconds since the last report."""
    return time.monotonic() - _last
