"""Ctrl-C, SIGTERM and SIGUSR1 end a command within two seconds, whatever it is doing.

SIGTERM is what schedulers send before they kill, SIGUSR1 what Slurm sends ahead of a time limit (`--signal=USR1@90`).

Python handles a signal only between two instructions of the main thread. An import may suppress the KeyboardInterrupt,
a call into C++ may last for minutes, and libraries may wait for their processes at exit. Therefore a thread, which the
signal wakes, ends the process if the main thread has not done so after `GRACE` seconds.
"""

import atexit
import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from glob import glob
from typing import Any, TypeVar

from framework.progress import is_shown

GRACE = 1.2
"""Time (s) for the main thread to end regularly."""
AGAIN = 0.02
"""Time (s) after which a lost interrupt is repeated."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
ERASE = "\r\x1b[K"

Handler = TypeVar("Handler", bound=Callable[..., Any])


def stops_in_good_order(times: int) -> Callable[[Handler], Handler]:
    """Decorate a handler of signals that answers the first `times` of them itself; one more ends the process.

    Handlers of others are taken to answer the first signal.
    """

    def decorate(handler: Handler) -> Handler:
        handler.stops_in_good_order = times  # type: ignore[attr-defined]
        return handler

    return decorate


_settings: dict[str, Any] = {"grace": GRACE, "remark": "", "received": None}


def on_interruption(remark: str | None = None, grace: float | None = None) -> None:
    """Set a remark for the message about the interruption, and the time that the process may take to end.

    Args:
        remark: Follows what has happened, as in `; the same command continues the run`.
        grace: Seconds that the main thread has to end in good order.
    """
    if remark is not None:
        _settings["remark"] = remark
    if grace is not None:
        _settings["grace"] = grace


def received() -> int | None:
    """Return the signal that interrupted the command, if one did."""
    return _settings["received"]


class Interrupts:
    """The state of an interruption of this process.

    Args:
        is_program: Whether the process ends with the command; if not, all is put back when the command has ended.
    """

    def __init__(self, is_program: bool) -> None:
        self.is_program = is_program
        self.received: list[int] = []
        self.is_announced = self.is_passing_over = False
        self.ended = threading.Event()
        self.children: dict[int, str] = {}

    @property
    def happened(self) -> bool:
        """Whether the command was interrupted, also where the KeyboardInterrupt was swallowed or became another."""
        return bool(self.received)

    @property
    def status(self) -> int:
        """The exit status: 128 and the first signal."""
        return 128 + (self.received[0] if self.received else signal.SIGINT)

    @property
    def message(self) -> str:
        """The message, one line."""
        number = self.status - 128
        what = "interrupted" if number == signal.SIGINT else f"stopped by {signal.Signals(number).name}"
        return f"ostinato: {what}{_settings['remark']}"

    @stops_in_good_order(0)
    def receive(self, number: int, frame: Any) -> None:
        """Interrupt the main thread."""
        self.received.append(number)
        _settings["received"] = number
        if self.is_program:
            sys.unraisablehook = self.pass_over
        if not self.is_passing_over:
            raise KeyboardInterrupt

    def pass_over(self, unraisable: Any) -> None:
        """Interrupt again where the exception was lost, as in a callback from C; say nothing of what follows."""
        self.is_passing_over = True
        if unraisable.exc_type is not None and issubclass(unraisable.exc_type, KeyboardInterrupt):
            threading.Timer(AGAIN, signal.raise_signal, (self.received[-1],)).start()
        self.is_passing_over = False

    def announce(self) -> None:
        """Print that the command was interrupted; on a terminal, in place of a bar or an echoed `^C`."""
        if not self.is_announced and is_shown():
            self.is_announced = True
            with contextlib.suppress(OSError, ValueError):
                print(f"{ERASE if sys.stderr.isatty() else ''}{self.message}", file=sys.stderr, flush=True)

    def watch(self, wakeups: socket.socket) -> None:
        """End the process if the main thread does not."""
        count = 0
        while signals := wakeups.recv(1):
            number = signals[0]
            if number not in SIGNALS:
                continue
            count += 1
            handler: Any = signal.getsignal(number)
            if count <= getattr(handler, "stops_in_good_order", 1):
                continue
            # This thread must not wait for the main thread's computation.
            sys.setswitchinterval(1e-4)
            self.children |= descendants()
            if not self.ended.wait(_settings["grace"]):
                self.received.append(number)
                end_processes(self.children | descendants())
                if not self.is_announced and is_shown():
                    # Written to the descriptor, because the main thread may hold the lock of sys.stderr.
                    os.write(2, f"{ERASE if os.isatty(2) else ''}{self.message}\n".encode())
                os._exit(self.status)

    def end(self) -> None:
        """End an interrupted program, with the processes that it leaves behind."""
        if self.happened:
            end_processes(self.children | descendants())
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
            # The regular exit of an interpreter that has imported PyTorch takes two seconds.
            os._exit(self.status)


@contextlib.contextmanager
def interruptible(is_program: bool) -> Iterator[Interrupts]:
    """Answer Ctrl-C in this block; where that is ignored, or answered by others, nothing changes.

    Args:
        is_program: Whether the process ends with the block.
    """
    interrupts = Interrupts(is_program)
    in_main_thread = threading.current_thread() is threading.main_thread()
    defaults = (signal.default_int_handler, signal.SIG_DFL)
    answered = {number: before for number in SIGNALS if (before := signal.getsignal(number)) in defaults}
    if not in_main_thread or not answered:
        yield interrupts
        return
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    for number in answered:
        signal.signal(number, interrupts.receive)
    watcher = threading.Thread(target=interrupts.watch, args=(reading,), name="interrupts", daemon=True)
    watcher.start()
    if is_program:
        os.register_at_fork(after_in_child=_leave_to_parent)
        # The first registered function is called last.
        atexit.register(interrupts.end)
    try:
        yield interrupts
    finally:
        if not (is_program and interrupts.happened):
            interrupts.ended.set()
            signal.set_wakeup_fd(before)
            for number, handler in answered.items():
                signal.signal(number, handler)
            writing.close()
            watcher.join()
            reading.close()


def _leave_to_parent() -> None:
    """Leave Ctrl-C, which reaches a forked process too, to the one that forked it; other signals end it as usual."""
    signal.set_wakeup_fd(-1)
    # Not SIG_IGN, which programs that the child starts would inherit.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    for number in (signal.SIGTERM, signal.SIGUSR1):
        if signal.getsignal(number) not in (signal.SIG_IGN, signal.SIG_DFL):
            signal.signal(number, signal.SIG_DFL)


def descendants() -> dict[int, str]:
    """Return the processes that this one has started, and those that they have, by number with their start time.

    Where the system does not list them in /proc, there are none.
    """
    found: dict[int, str] = {}
    around = [str(os.getpid())]
    while around:
        parent = around.pop()
        for path in glob(f"/proc/{parent}/task/*/children"):
            for number in _read(path).split():
                found[int(number)] = start_time(int(number))
                around.append(number)
    return found


def start_time(number: int) -> str:
    """Return when a process began, in the system's ticks; empty if there is none."""
    # The process name, in parentheses, may contain any character.
    fields = _read(f"/proc/{number}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def end_processes(processes: dict[int, str]) -> None:
    """Kill processes, if they are still those that began at these times."""
    for number, began in processes.items():
        if began and start_time(number) == began:
            with contextlib.suppress(OSError):
                os.kill(number, signal.SIGKILL)


def _read(path: str) -> str:
    try:
        with open(path, errors="replace") as file:
            return file.read()
    except OSError:
        return ""
