"""Processes forked from one that has done the imports: a life that a test ends is not worth seconds of them."""

import multiprocessing
import os
import resource
import runpy
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["framework.commands.fit", "datamodules.audio_folder", "pytest"])


class Child:
    """A process that is a program with these arguments, as `subprocess.Popen` has one, in a session of its own.

    Args:
        program: A Python file.
        arguments: What it is called with.
        folder: Where it runs; what it says is added to `output` there.
        environment: All of its environment variables.
        largest_file: Bytes of a file behind which writing fails; None for any number.
    """

    def __init__(
        self,
        program: Path,
        arguments: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        largest_file: int | None = None,
    ) -> None:
        self.output = folder / "output.txt"
        self.process = FORKS.Process(
            target=live, args=(program, arguments, folder, dict(environment), largest_file, self.output)
        )
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def poll(self) -> int | None:
        """Return the exit status, or None while it lives."""
        return self.process.exitcode

    def wait(self, timeout: float) -> int | None:
        """Wait for its end, and end what is left of its session; return the exit status, None if there was none."""
        self.process.join(timeout)
        status = self.poll()
        if status is None:
            os.killpg(self.pid, signal.SIGKILL)
            self.process.join()
        return status


def live(
    program: Path,
    arguments: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    largest_file: int | None,
    said: Path,
) -> None:
    """Entry point of the child process."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for output in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), output)
    if largest_file is not None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, resource.RLIM_INFINITY))
    # A folder may have experiments of its own.
    sys.modules.pop("experiments", None)
    sys.argv = [str(program), *arguments]
    sys.path.insert(0, str(folder))
    sys.path.insert(0, str(program.parent))
    runpy.run_path(str(program), run_name="__main__")
