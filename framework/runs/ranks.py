"""The processes of a run on several devices: how they are started, and that they end together.

Lightning starts the other ranks as children of the first. Here each of them ends with the first, however that ends, and
the first ends with any of them, saying which one it was.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from framework.interrupts import SIGNALS, descendants, end_processes
from framework.private_names.of_lightning import RankLauncherBase, default_launcher, set_launcher
from framework.processes import end_with_parent
from framework.runs.locks import is_locked

FIRST_PROCESS = "OSTINATO_FIRST_PROCESS"
"""Environment variable in which the first process tells the ranks that it starts its process number."""
LOOK_AGAIN = 0.3
"""Seconds between two looks at the other ranks."""
TIME_TO_END = 3.0
"""Seconds that the first process has to end by itself: an error on one rank is often one on all."""
TIME_TO_STOP = 10.0
"""The same, where a rank has been told to stop by a signal."""
LOOK_AT_LOCK = 5.0
"""Seconds between two looks at the lock of the first process."""


class RankLauncher(RankLauncherBase):
    """Starts the other ranks of this machine, and ends this process when one of them has ended before its time.

    Lightning's own kills this process without a word that a user sees.
    """

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other ranks, unless a cluster has, and call the function."""
        environment = self.cluster_environment
        environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not environment.creates_processes_externally:
            if self.num_nodes == 1:
                forget_taken_port()
            os.environ[FIRST_PROCESS] = str(os.getpid())
            threading.Thread(target=watch, args=(self.start_ranks(),), name="watching the ranks", daemon=True).start()
        self.limit_threads()
        return function(*args, **kwargs)


def forget_taken_port() -> None:
    """Remove MASTER_PORT from the environment if another process listens there, so that Lightning finds a free port.

    A process that has trained on several devices leaves its port in the environment of the processes that it starts.
    """
    port = os.environ.get("MASTER_PORT", "")
    if port.isdecimal() and int(port) < 2**16 and is_taken(int(port)):
        del os.environ["MASTER_PORT"]


def is_taken(port: int) -> bool:
    """Say whether a process of this machine listens at a TCP port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False


def use_rank_launcher(trainer: Any) -> None:
    """Have a Trainer start the other ranks by `RankLauncher`, if it starts any as Lightning does by default."""
    launcher = default_launcher(trainer)
    if launcher is not None:
        set_launcher(trainer, RankLauncher(launcher.cluster_environment, launcher.num_processes, launcher.num_nodes))


def watch(ranks: Sequence[subprocess.Popen]) -> None:
    """Wait until all ranks have ended well; end this process when one has not."""
    while True:
        statuses = [rank.poll() for rank in ranks]
        for number, status in enumerate(statuses, start=1):
            if status:
                end_with_rank(number, status)
        if all(status == 0 for status in statuses):
            return
        time.sleep(LOOK_AGAIN)


def end_with_rank(rank: int, status: int) -> None:
    """End this process, and all that it has started, since a rank has ended with a status other than 0."""
    number = -status if status < 0 else status - 128
    if number in SIGNALS:
        os.kill(os.getpid(), number)
        time.sleep(TIME_TO_STOP)
    elif status > 0:
        time.sleep(TIME_TO_END)
    sys.stderr.flush()
    # Not by sys.stderr: the main thread may hold its lock.
    os.write(2, f"ostinato: error: rank {rank} {ended(status)}: the run cannot continue without it\n".encode())
    end_processes(descendants())
    os._exit(128 + number if number > 0 else status)


def ended(status: int) -> str:
    """Return in words how a process has ended, by its status as `subprocess` gives it."""
    number = -status if status < 0 else status - 128
    if number > 0:
        known = number in {member.value for member in signal.Signals}
        return f"was ended by {signal.Signals(number).name if known else f'signal {number}'}"
    return f"ended with status {status}" + (", stalled" if status == 75 else "")


def end_with_starter() -> None:
    """End this process with the first one of the run, where that has started it; to be called when it starts."""
    first = os.environ.get(FIRST_PROCESS)
    if first and os.environ.get("LOCAL_RANK", "0") != "0":
        end_with_parent(int(first))


def end_with_first_process(lock: Path) -> None:
    """End this process, a rank other than the first, when the first one is gone, whatever has started both.

    It is known by the lock of the run, which the first process holds as long as it lives, on whatever machine.

    Args:
        lock: The lock's file.
    """
    threading.Thread(target=_wait_for_lock, args=(lock,), name="watching the first rank", daemon=True).start()


def _wait_for_lock(path: Path) -> None:
    while not is_locked(path):
        time.sleep(LOOK_AT_LOCK)
    free = 0
    while free < 2:
        time.sleep(LOOK_AT_LOCK)
        free = 0 if is_locked(path) else free + 1
    os.write(2, f"rank {os.environ.get('LOCAL_RANK', '?')}: the first process of the run is gone: ending\n".encode())
    os._exit(1)
