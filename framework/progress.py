"""Progress of long work, on standard error: a bar on a terminal, a plain line now and then everywhere else.

    for clip in progress(clips, "evaluating", unit="clips"):
        ...

    with busy("compiling the kernels"):
        ...

Standard output stays free for results. A thread keeps the elapsed time moving while one item takes long, so the first
sign of life appears within two seconds however long that item is. `hidden()` turns all of it off.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar

from framework.liveness import alive

Item = TypeVar("Item")

FIRST_LINE = 1.5
"""Seconds until the first plain line; shorter work prints none."""
LINE_EVERY = 10.0
"""Seconds between two plain lines in the first minute."""
LATER_LINE_EVERY = 30.0
"""Seconds between two plain lines after that."""
REFRESH = 0.5
"""Interval (s) at which the thread redraws bars and prints lines."""

_RANKS = ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
_hidden = 0


@contextlib.contextmanager
def hidden() -> Iterator[None]:
    """Show no progress in this block, on any thread."""
    global _hidden
    _hidden += 1
    try:
        yield
    finally:
        _hidden -= 1


def progress(
    iterable: Iterable[Item], what: str, total: int | None = None, unit: str = "", at_once: bool = False
) -> Iterator[Item]:
    """Yield the items of an iterable and show how many are done and how long the rest will take.

    Args:
        iterable: What to go through.
        what: What is being done, such as `evaluating`.
        total: Number of items; by default `len(iterable)` where there is one.
        unit: What an item is, in the plural, such as `clips`.
        at_once: Print the first plain line immediately, not only if the work takes longer than `FIRST_LINE`.
    """
    with Progress(what, length(iterable) if total is None else total, unit, at_once=at_once) as shown:
        for item in iterable:
            yield item
            shown.update()


def busy(what: str, at_once: bool = False) -> "Progress":
    """Return a context that shows an activity of unknown duration.

    Args:
        what: What is being done.
        at_once: Print the first plain line immediately, not only if the work takes longer than `FIRST_LINE`.
    """
    return Progress(what, at_once=at_once)


def length(iterable: Iterable[Any]) -> int | None:
    """Return the number of items if it is known."""
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        return None


def is_shown() -> bool:
    """Return whether progress is shown: not inside `hidden()`, and only by the first training process."""
    return not _hidden and all(os.environ.get(name, "0") == "0" for name in _RANKS)


def print_above(line: str) -> None:
    """Print a line on standard error without damaging the bars there."""
    if any(display.bar is not None for display in _HEARTBEAT.displays):
        from tqdm import tqdm

        tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Return a length of time as `0:07`, `12:30` or `1:02:03`."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


class Progress:
    """Shows how far one piece of work is; a context manager. `progress` and `busy` cover most uses.

    Args:
        what: What is being done.
        total: Number of items; None if it is not known.
        unit: What an item is, in the plural; empty if there are no items to count.
        done: Items that were done before.
        at_once: Print the first plain line immediately.
    """

    def __init__(
        self, what: str, total: int | None = None, unit: str = "", done: int = 0, at_once: bool = False
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self.began_at = done
        self.now = ""
        self.bar: Any = None
        self.printed = 0
        self.at_once = at_once
        self.is_open = False

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(failed=kind is not None)

    def open(self) -> None:
        """Begin to show progress."""
        if not is_shown():
            return
        self.is_open, self.process = True, os.getpid()
        self.since = time.monotonic()
        self.next_line = self.since + (0 if self.at_once else FIRST_LINE)
        self.bar = self._make_bar()
        if self.at_once and self.bar is None:
            self.print_line()
        _HEARTBEAT.add(self)

    def close(self, failed: bool = False) -> None:
        """Remove the bar; where plain lines were printed, print the last one, unless the work has failed."""
        if not self.is_open or self.process != os.getpid():
            return
        _HEARTBEAT.remove(self)
        self.is_open = False
        if self.bar is not None:
            self.bar.close()
            self.bar = None
        elif self.printed and self.unit and not failed:
            self.print_line()

    def update(self, count: int = 1) -> None:
        """Count items that are done."""
        alive()
        self.done += count
        if self.bar is not None and self.process == os.getpid():
            self.bar.update(count)

    def reach(self, done: int) -> None:
        """Set how many items are done in all."""
        self.update(done - self.done)

    def note(self, now: str) -> None:
        """Say which part of an item is being done now, or show values beside the count."""
        self.now = now
        if self.bar is not None and self.process == os.getpid():
            self.bar.set_postfix_str(now, refresh=False)

    def rename(self, what: str) -> None:
        """Change what is said to be done."""
        self.what = what
        if self.bar is not None and self.process == os.getpid():
            self.bar.set_description_str(what, refresh=False)

    def look(self) -> None:
        """Redraw the bar, or print a line if it is time for one. Called by a thread."""
        if self.bar is not None:
            self.bar.refresh()
        elif time.monotonic() >= self.next_line:
            self.print_line()

    def print_line(self) -> None:
        """Print one plain line."""
        now = time.monotonic()
        self.next_line = now + (LINE_EVERY if now - self.since < 60 else LATER_LINE_EVERY)
        self.printed += 1
        print(self.line(now - self.since), file=sys.stderr, flush=True)

    def line(self, elapsed: float) -> str:
        """Return the plain line after so many seconds."""
        now = f" ({self.now})" if self.now else ""
        if not self.unit:
            return f"{self.what} ..." + (f" {duration(elapsed)}" if elapsed >= 1 else "") + now
        count = f"{self.done:,}" + (f" of {self.total:,}" if self.total is not None else "")
        text = f"{self.what}: {count} {self.unit}, {duration(elapsed)} elapsed"
        made = self.done - self.began_at
        if self.total is not None and made > 0 and self.done < self.total:
            text += f", about {duration(elapsed / made * (self.total - self.done))} left"
        return text + now

    def _make_bar(self) -> Any:
        """Return tqdm's bar on a terminal or in a notebook, else None."""
        is_notebook = "ipykernel" in sys.modules
        if not is_notebook and not sys.stderr.isatty():
            return None
        if is_notebook:
            from tqdm.auto import tqdm
        else:
            from tqdm import tqdm
        options: dict[str, Any] = {"bar_format": "{desc} [{elapsed}{postfix}]"} if not self.unit else {}
        return tqdm(
            desc=self.what, total=self.total, initial=self.done, unit=f" {self.unit}", leave=False,
            dynamic_ncols=True, file=sys.stderr, smoothing=0.1, **options,
        )  # fmt: skip


class _Heartbeat:
    """One thread for all displays; it lives while there are any."""

    def __init__(self) -> None:
        self.displays: list[Progress] = []
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None

    def add(self, display: Progress) -> None:
        with self.lock:
            self.displays.append(display)
            if self.thread is None:
                self.thread = threading.Thread(target=self._beat, name="progress", daemon=True)
                self.thread.start()

    def remove(self, display: Progress) -> None:
        with self.lock:
            self.displays.remove(display)

    def _beat(self) -> None:
        while True:
            time.sleep(REFRESH)
            with self.lock:
                if not self.displays:
                    self.thread = None
                    return
                # Plain lines are those of the innermost work alone.
                for display in self.displays if self.displays[-1].bar is not None else self.displays[-1:]:
                    with contextlib.suppress(OSError, ValueError):  # a closed standard error is no reason to stop
                        display.look()


_HEARTBEAT = _Heartbeat()


def _forget_displays() -> None:
    """Forget the parent's displays in a forked child, where their thread does not run."""
    global _HEARTBEAT
    _HEARTBEAT = _Heartbeat()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_displays)
