"""The `ostinato` command: one thin layer over the library.

Nothing here imports torch, so that `ostinato list` and `--help` answer at once.
"""

import os
import signal
import sys
import traceback
from importlib import import_module

from framework.errors import OstinatoError
from framework.hyperparameters import nearest

USAGE = """\
usage: ostinato COMMAND [...]

  list [PART]                        every experiment by family; those with PART in their name, with what they change
  show NAME                          an experiment's hyperparameters and their origin, parameter counts, memory
  doctor NAME                        look at data, memory, devices and disk before a long run
  fit NAME                           train; the same command again continues the same run
  validate NAME                      measure a run on the held-out clips, beside Griffin-Lim
  evaluate NAME|RUN|CHECKPOINT       many metrics of a run on the held-out clips, with intervals, kept for comparison
  compare SWEEP|RUN... [--baseline X]
                                     runs beside each other with differences, intervals and a page to hear them on
  listen COMPARISON [--kind mushra|mos|ab]
                                     a blind listening test of a comparison; --results tells what listeners said
  synthesize NAME --input FILE_OR_DIR --output DIR
                                     generate recordings again from their conditioning (copy-synthesis)
  encode NAME|RUN --input AUDIO --output FILE.ost [--model.bitrate KBITS]
                                     a recording as a small file of a trained codec's codes
  decode NAME|RUN --input FILE.ost --output AUDIO
                                     its audio, decoded piece by piece
  compose [--seed N] [--form ABA] [--output song.wav]
                                     a whole piece by four trained levels, played, mixed, and shown on a page
  release NAME|RUN [--for-training] [--output FILE.safetensors]
                                     a trained generator as one small file, to be used without Lightning
  export NAME|RUN --format onnx|torch [--output FILE]
                                     a vocoder as a program for other runtimes, checked against itself
  inspect NAME [--output DIR]        draw the filters that a run's first layers have learnt
  sweep NAME [--dry] [--jobs N]      make the runs of a sweep, here or on a cluster; the same command again goes on
  status [SWEEP]                     how far sweeps are
  pack SOURCE DESTINATION            turn a folder of recordings into webdataset shards
  data DIR [--picture FILE.png]      what is in recordings or shards: amounts, lengths, levels, spectrograms
  bench [NAME...]                    speed beside other ways of doing the same; without a name, which benches there are

Overrides are typed: --model.mel_weight 15 --data.batch_size 8 --trainer.devices 2 --seed 3
`ostinato COMMAND NAME --help` lists them all; `--debug` shows the traceback of any error.
NAME is a file below experiments/, e.g. hifigan_v3 or ablations.hifigan_without_mpd (its last part is enough).
"""
COMMANDS = (
    "list", "show", "doctor", "fit", "validate", "evaluate", "compare", "listen", "synthesize", "encode", "decode",
    "compose", "release", "export", "inspect", "sweep", "status", "pack", "data", "bench",
)  # fmt: skip


DEBUG = "OSTINATO_DEBUG"
"""Environment variable that `--debug` sets: every error shows its traceback."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status.

    An `OstinatoError` is one line on standard error and status 2. Any other exception shows its traceback and gives
    status 1. `--debug`, anywhere on the command line, shows the traceback of both.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if "--debug" in arguments:
        arguments.remove("--debug")
        os.environ[DEBUG] = "1"
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    command, *rest = arguments
    if (
        command not in ("compare", "compose", "listen", "sweep", "status", "pack", "data", "bench")
        and rest
        and rest[0] in ("-h", "--help")
    ):
        print(USAGE, end="")
        return 0
    # Threads that spin for long while they wait bring a machine that others use too to a standstill (a hundredth of
    # the speed); ones that never spin lose a quarter of it where nobody does.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    try:
        if command not in COMMANDS:
            raise UnknownCommandError(f"no command {command!r}: {nearest(command, COMMANDS)}")
        status: int = import_module(f"framework.commands.{command}").run(rest) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:
        # Whoever read the output has seen enough, as `head` has; there is nowhere to write the rest at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OstinatoError as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return fail(str(error))
    except Exception:
        traceback.print_exc()
        return fail(UNEXPECTED, 1)


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
