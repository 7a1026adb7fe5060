"""Work spread over processes, results in order."""

import contextlib
import multiprocessing
import os
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from framework.liveness import alive
from framework.processes import end_with_parent, leave_signals_to_parent

Result = TypeVar("Result")


def in_parallel(function: Callable[..., Result], jobs: Iterable[tuple]) -> Iterator[Result]:
    """Yield `function(*job)` for each job in order, computed by as many processes as this one may use processors.

    The processes are started afresh, with nothing but the module of `function`: where that does not import torch they
    are ready in half a second. They end with this process, however it ends.
    """
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    executor = ProcessPoolExecutor(processors(), mp_context=context, initializer=_become_worker)
    try:
        with _without_main():
            futures = [executor.submit(function, *job) for job in jobs]
        while futures:
            yield futures.pop(0).result()
            alive()
    except BaseException:
        # Waiting for the jobs that have begun could take minutes.
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise
    finally:
        executor.shutdown(cancel_futures=True)


def processors() -> int:
    """Return how many processors this process may use, which on a shared machine is fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _without_main() -> Iterator[None]:
    """Hide the program from new processes: they need nothing of it, and a script without a guard would start itself."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _become_worker() -> None:
    leave_signals_to_parent()
    end_with_parent()
