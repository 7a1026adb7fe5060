"""The time of this process's last progress, which long-running work reports and a watchdog reads.

Everything that shows its progress with `framework.progress` reports it.
"""

import os
import time

_last = time.monotonic()


def alive(*_: object, **__: object) -> None:
    """Report that something has been done: a step, a clip, a file, a part of a download.

    A data module whose preparation takes long without much work for the processor, such as one that waits for a
    server, should call this as it goes on: see `framework.runs.guards.Watchdog`.
    """
    global _last
    _last = time.monotonic()


def seconds_since_alive() -> float:
    """Return the seconds since the last report."""
    return time.monotonic() - _last


def processor_seconds() -> float:
    """Return the processor time that this process, and the children that have ended, have used so far (s)."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
