"""Ensures that child processes end with their parent, also if the parent is killed."""

import contextlib
import ctypes
import multiprocessing
import multiprocessing.util
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import IO

PR_SET_PDEATHSIG = 1
"""Option of Linux's prctl: the signal that a process receives when the thread that started it ends."""
LOOK_AGAIN = 0.5
"""Interval (s) at which the parent is polled on systems that do not report its end."""
GUARD = """
exec 3<&0 </dev/null
{ read _ <&3; kill -KILL 0; } &
sh -c "$1" 3<&-
status=$?
kill -KILL $!
exit $status
"""
"""Runs a command and kills its whole process group when standard input ends, which it does with the process that holds
the other end."""


def end_with_parent(parent: int | None = None) -> None:
    """End this process as soon as its parent has ended, also if the parent was killed.

    To be called in the child. On Linux the kernel does it, also in the middle of a computation, where the parent has
    started this process itself; a thread that watches the parent does it everywhere, also where a fork server has.

    Args:
        parent: The parent's process number; by default that of `multiprocessing`, else of the system.
    """
    ours = multiprocessing.parent_process()
    parent = parent or (ours.pid if ours is not None and ours.pid is not None else os.getppid())
    if os.getppid() == parent:
        _die_with_starter(signal.SIGKILL)
    if ours is not None and ours.pid == parent:
        _in_background(ours.join)
    else:
        _in_background(lambda: _wait_for_other_parent(parent))


def _in_background(wait: Callable[[], object]) -> None:
    def end() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=end, daemon=True, name="waiting for the parent's end").start()


def _wait_for_other_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_AGAIN)


def _die_with_starter(number: int) -> None:
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def ends_with_this_process(number: int = signal.SIGKILL) -> Callable[[], None] | None:
    """Return a `preexec_fn` of `subprocess.Popen`: the child gets a signal when the thread that starts it ends.

    None where the system cannot do that.
    """
    if not sys.platform.startswith("linux"):
        return None
    parent, prctl = os.getpid(), ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def leave_signals_to_parent() -> None:
    """Leave it to the parent to stop this process: Ctrl-C and batch systems signal all processes of a run at once.

    A worker that ended before its parent has finished the step would be an error there. The second SIGTERM ends it.
    """

    def once(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)

    # Not SIG_IGN, which programs that this process starts would inherit.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    signal.signal(signal.SIGUSR1, lambda number, frame: None)
    signal.signal(signal.SIGTERM, once)


@contextlib.contextmanager
def killed_at_exit() -> Iterator[None]:
    """Kill the processes that `multiprocessing` starts in this block when this process exits, if they are there still.

    It would ask them to end, which they leave to their parent by `leave_signals_to_parent`, and wait for them.
    """
    others = set(multiprocessing.active_children())
    yield
    started = set(multiprocessing.active_children()) - others
    owner = os.getpid()

    def kill() -> None:
        if os.getpid() == owner and any(process.is_alive() for process in started):
            # PyTorch's handler treats the end of a worker as an error.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for process in started:
                process.kill()

    # Before `multiprocessing` waits for them, also in a process that it has started itself.
    multiprocessing.util.Finalize(None, kill, exitpriority=1)


@contextlib.contextmanager
def output_of(command: str, timeout: float | None = None) -> Iterator[IO[bytes]]:
    """Yield the standard output of a shell command, all of whose processes end with the block, or with this process.

    Args:
        command: For the shell.
        timeout: Seconds without output after which `read1` of the output gives up; None to wait for ever.

    Raises:
        ConnectionError: the command has failed.
        TimeoutError: the command has written nothing within the timeout.
    """
    with subprocess.Popen(
        ["sh", "-c", GUARD, "sh", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout if timeout is None else _Patient(process.stdout, timeout)  # type: ignore[misc]
        if process.wait():
            raise ConnectionError(f"the command ended with exit status {process.returncode}")


class _Patient:
    """A pipe to read blocks from, with a limit for waiting.

    Args:
        pipe: A pipe without buffered data.
        timeout: Seconds.
    """

    def __init__(self, pipe: IO[bytes], timeout: float) -> None:
        self.pipe, self.timeout = pipe, timeout

    def read1(self, size: int) -> bytes:
        """Return the next bytes, at most `size`; none at the end.

        Raises:
            TimeoutError: no data arrived in time.
        """
        with selectors.DefaultSelector() as selector:
            selector.register(self.pipe, selectors.EVENT_READ)
            ready = selector.select(self.timeout)
        if not ready:
            raise TimeoutError(f"the command has written nothing for {self.timeout:.0f} s")
        return os.read(self.pipe.fileno(), size)

    read = read1
