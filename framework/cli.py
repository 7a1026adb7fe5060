"""The `ostinato` command: one thin layer over the library.

Nothing here imports torch, so that `ostinato list` and `--help` answer at once. What takes longer than a few
milliseconds is imported behind the handling of Ctrl-C.
"""

import os
import signal
import sys

from framework.errors import DEBUG, OstinatoError
from framework.interrupts import interruptible
from framework.runs.stored_commands import forget_commands, give_commands

VERSION = "--version"


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    An `OstinatoError` is one line on standard error and status 2. Any other exception shows its traceback and gives
    status 1. `--debug`, anywhere on the command line, shows the traceback of both. Ctrl-C gives one line and status
    130 within two seconds; SIGTERM and SIGUSR1 do with their own statuses, 143 and 138.
    """
    is_program = arguments is None
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in arguments:
        arguments.remove("--debug")
        os.environ[DEBUG] = "1"
    # Threads that spin for long while they wait bring a machine that others use too to a standstill (a hundredth of
    # the speed); ones that never spin lose a quarter of it where nobody does.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    with interruptible(is_program) as interrupts:
        try:
            status = run(arguments)
            sys.stdout.flush()
        except BaseException as error:
            # An import that is interrupted may raise anything.
            if not interrupts.happened and not isinstance(error, KeyboardInterrupt):
                return answer(error)
            interrupts.announce()
            return interrupts.status
        if interrupts.happened:
            interrupts.announce()
            return interrupts.status
        return status


def answer(error: BaseException) -> int:
    """Print what is to be said of an error and return the exit status."""
    if isinstance(error, BrokenPipeError):
        # Whoever read the output has seen enough, as `head` has; there is nowhere to write the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    if not isinstance(error, Exception):
        raise error
    is_message = isinstance(error, OstinatoError)
    if not is_message or os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    return fail(str(error)) if is_message else fail(UNEXPECTED, 1)


def run(arguments: list[str]) -> int:
    """Run a command, or print its help; return the exit status.

    Raises:
        UnknownCommandError: there is no such command.
    """
    from framework import commands
    from framework.hyperparameters import nearest
    from framework.workflow.command import HELP

    name, *rest = arguments or HELP
    rest = [with_underscores(word) for word in rest]
    if name in HELP:
        print(commands.overview(), end="")
        return 0
    if name == VERSION:
        print(version_line())
        return 0
    if name not in commands.names():
        raise UnknownCommandError(f"no command {name!r}: {nearest(name, commands.names())}")
    command = commands.command(name)
    text = command.help(rest)
    if text is not None:
        print(text, end="")
        return 0
    forget_commands()
    give_commands(rest)
    try:
        status: int = command.main(rest) or 0
    except SystemExit as exit:
        if isinstance(exit.__context__, KeyboardInterrupt):  # Lightning's answer to Ctrl-C
            raise exit.__context__ from None
        # A parser that has printed its help, or a training that was stopped in good order.
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
    return status


def version_line() -> str:
    """Return the versions of the project, of Python and of what it is built on, as a report of a fault needs them."""
    import platform
    from importlib.metadata import version

    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "lightning"))
    return f"ostinato {version('ostinato')} (Python {platform.python_version()}, {packages}, {platform.system()})"


def with_underscores(word: str) -> str:
    """Return an option as it is spelled here, `--for_training` of `--for-training`; all else as it is."""
    name, equals, value = word.partition("=")
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if name.startswith("--") else word


class UnknownCommandError(OstinatoError, ValueError):
    """There is no command of this name."""


UNEXPECTED = (
    "unexpected error, shown above. If it comes from your own code, correct it there; "
    "otherwise please report it with these lines, as CONTRIBUTING.md says"
)


def fail(message: str, status: int = 2) -> int:
    """Print one line to standard error and return the exit status."""
    print(f"ostinato: error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
