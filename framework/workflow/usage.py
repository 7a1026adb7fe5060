"""What every command does, in words: the help of `ostinato`, of each command, and of a command with an experiment.

None of it imports torch, except the first help of an experiment, whose text is kept until a source file changes.
"""

import contextlib
import hashlib
import io
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from framework.cache import cache_folder
from framework.catalogue import module_names, sources_state
from framework.progress import busy
from framework.workflow import options
from framework.workflow.parser import OneLineParser, Parser
from framework.writing import write_atomically

HELP = ("-h", "--help")
VERSION = "--version"


@dataclass(frozen=True)
class Usage:
    """What a command does.

    Args:
        arguments: Its arguments, as in a line of usage.
        summary: A few words for the list of commands.
        description: Full sentences for its own help.
        examples: Command lines; `{name}` is replaced by an experiment's name.
        name: The experiment in the examples where none is given.
    """

    arguments: str
    summary: str
    description: str
    examples: tuple[str, ...]
    name: str = "hifigan_v3"


COMMANDS: dict[str, Usage] = {
    "list": Usage(
        "[PART]",
        "list experiments by family, and sweeps",
        "List all experiments by family, with the first line of their documentation, and all sweeps with their "
        "questions. With PART, list the experiments whose name contains it, with what each changes.",
        ("ostinato list", "ostinato list hifigan"),
    ),
    "runs": Usage(
        "[PART]",
        "list runs with their state, step and metric",
        "List all runs: experiment, identity, seed, last step of those planned, state, newest value of the metric that "
        "the best checkpoint is chosen by, time of the last change, and the values that differ from the experiment's. "
        "With PART, list those of the experiments whose name contains it.",
        ("ostinato runs", "ostinato runs hifigan --runs elsewhere"),
    ),
    "show": Usage(
        "NAME|RUN",
        "hyperparameters and their origin, parameter counts, memory",
        "Print the hyperparameters of an experiment with the class that sets each of them, the parameter count of its "
        "networks, the receptive field, and an estimate of the memory of a training step. Nothing is trained.",
        ("ostinato show {name}", "ostinato show {name} --model.channels 128"),
    ),
    "doctor": Usage(
        "NAME|RUN",
        "check data, memory, devices and disk before a long run",
        "Check an experiment before a long run: devices, data, batches, a few training steps, the generation of a "
        "held-out clip, disk space and tracking. Each check prints a line when it ends. The exit status is 1 if one of "
        "them fails.",
        ("ostinato doctor {name} --data recordings/",),
    ),
    "fit": Usage(
        "NAME|RUN",
        "train; run the same command again to resume",
        "Train an experiment. All values that can change the result determine the run's folder, so the same command "
        "resumes a run that was interrupted, and reports one that is finished. At the end, held-out clips are "
        "generated and their distances are printed next to those of Griffin-Lim.",
        (
            "ostinato fit {name}",
            "ostinato fit {name} --data recordings/ --trainer.max_steps 20000 --trainer.devices 2",
        ),
    ),
    "validate": Usage(
        "NAME|RUN",
        "distances of a run on the held-out clips, next to Griffin-Lim",
        "Generate the held-out clips with a trained run and print the mean distances to the originals, next to those "
        "of Griffin-Lim on the same clips.",
        ("ostinato validate {name} --data recordings/",),
    ),
    "evaluate": Usage(
        "NAME|RUN",
        "many metrics on the held-out clips, stored for comparison",
        "Generate the held-out clips with a trained run, measure them with many metrics, and print a table with "
        "confidence intervals. Audio and values are stored in the run's folder, where `ostinato compare` finds them.",
        (
            "ostinato evaluate {name} --data recordings/",
            "ostinato evaluate {name} --clips 4 --metrics stft_distance log_mel_error",
        ),
    ),
    "compare": Usage(
        "SWEEP|RUN...",
        "compare runs: table, differences, and a page with the audio",
        "Compare runs on the same held-out clips: a table with intervals and paired differences to the baseline, also "
        "logged to W&B, and a page to listen on. Runs that were not evaluated yet are evaluated first.",
        (
            "ostinato compare hifigan_table3 --baseline full",
            "ostinato compare runs/hifigan/1c9a runs/melgan/77e0",
        ),
    ),
    "listen": Usage(
        "COMPARISON",
        "a blind listening test of a comparison, and its results",
        "Make a blind listening test (MUSHRA, MUSHRA 1S, MOS, DCR or A/B) of the clips of a comparison and serve it on "
        "this machine until Ctrl-C. With --results, summarise what listeners answered.",
        ("ostinato listen hifigan_table3 --kind mos", "ostinato listen hifigan_table3 --results"),
    ),
    "synthesize": Usage(
        "NAME|RUN",
        "generate recordings from their conditioning, or new audio",
        "Generate recordings again from their conditioning, such as their mel spectrogram (copy synthesis). Systems "
        "that need no input generate --count clips of --seconds.",
        ("ostinato synthesize {name} --input song.mp3 --output generated/",),
    ),
    "encode": Usage(
        "NAME|RUN",
        "encode audio to the codes of a trained codec",
        "Encode a recording with a trained codec into a small file of codes.",
        ("ostinato encode {name} --input song.wav --output song.ost --model.bitrate 2.41",),
        "codec_bach",
    ),
    "decode": Usage(
        "NAME|RUN",
        "decode a file of codes to audio",
        "Decode a file that `ostinato encode` wrote with the same codec. Memory does not grow with the length.",
        ("ostinato decode {name} --input song.ost --output decoded.wav",),
        "codec_bach",
    ),
    "compose": Usage(
        "",
        "a whole piece by four trained levels, with audio and a page",
        "Compose a piece from its form to its notes with four trained levels, play it with sampled instruments, mix "
        "it, and write a page with all layers. Every layer can be replaced by your own.",
        ("ostinato compose --seed 7 --form ABA --train --output song.wav",),
    ),
    "release": Usage(
        "NAME|RUN",
        "a trained generator as one small file",
        "Write the generator of a trained run as one small safetensors file that is used without Lightning. With "
        "--for_training, the file also holds what fine-tuning needs.",
        ("ostinato release {name} --output {name}.safetensors",),
    ),
    "export": Usage(
        "NAME|RUN",
        "export a vocoder to ONNX or torch.export",
        "Export a trained vocoder to ONNX or torch.export, compare the outputs of the program with those of PyTorch at "
        "three lengths, and measure its speed.",
        ("ostinato export {name} --format onnx",),
    ),
    "inspect": Usage(
        "NAME|RUN",
        "pictures of the filters of a run's first layers",
        "Draw the filters that the layers of a trained run have learned whose input is audio.",
        ("ostinato inspect {name} --output filters/",),
    ),
    "sweep": Usage(
        "NAME",
        "make the runs of a sweep, here or on a cluster",
        "Make the runs of a sweep: a module-level Sweep of a file below experiments/, or a sweep file of W&B. Equal "
        "runs are made once, finished ones are not repeated, interrupted ones resume. All other options go to every "
        "run, as --trainer.max_steps 1000 --data recordings/ --runs elsewhere. Without a name, all sweeps are listed.",
        ("ostinato sweep hifigan_table3 --dry", "ostinato sweep hifigan_table3 --jobs 2 --trainer.max_steps 1000"),
    ),
    "status": Usage(
        "[SWEEP]",
        "progress of sweeps",
        "Show the progress of a sweep, read from the folders of its runs, or list all sweeps that were started.",
        ("ostinato status", "ostinato status hifigan_table3"),
    ),
    "pack": Usage(
        "SOURCE DESTINATION",
        "pack a folder of recordings into webdataset shards",
        "Pack a folder of recordings, or of MIDI files, into webdataset shards. `ostinato pack --verify FOLDER` checks "
        "packed data, reading every byte.",
        ("ostinato pack recordings/ shards/ --sample_rate 22050", "ostinato pack --verify shards/"),
    ),
    "data": Usage(
        "PATH",
        "amounts, lengths, levels and spectrograms of a data set",
        "Describe a data set: number and length of clips, sample rates, levels, and with --picture spectrograms; of "
        "MIDI files notes, tracks, and what was not understood in them. Nothing is packed or changed.",
        ("ostinato data recordings/ --picture sheet.png",),
    ),
    "bench": Usage(
        "[NAME...]",
        "measure speed next to other implementations",
        "Run benchmarks that measure parts of the project next to other implementations of the same. Without a name, "
        "all benchmarks are listed.",
        ("ostinato bench stft_loss --rounds 3",),
    ),
}
"""All commands, in the order in which they are listed."""


def overview() -> str:
    """Return the help of `ostinato` itself."""
    lines = ["usage: ostinato COMMAND [...]", ""]
    for command, usage in COMMANDS.items():
        words = f"{command} {usage.arguments}".rstrip()
        lines.append(f"  {words:<30} {usage.summary}")
    lines += [
        "",
        "`ostinato COMMAND --help` explains a command; `ostinato COMMAND NAME --help` also lists all hyperparameters.",
        "Overrides are typed: --model.mel_weight 15 --data.batch_size 8 --trainer.devices 2 --seed 3",
        "NAME is a file below experiments/, as hifigan_v3 or ablations.hifigan_without_mpd (the last part is enough).",
        "RUN is a run's folder or what `ostinato runs` calls it, a checkpoint, or a file by `ostinato release`.",
        "--debug, anywhere on the command line, shows the traceback of any error; --version prints the versions.",
    ]
    return "\n".join(lines) + "\n"


def version_line() -> str:
    """Return the versions of the project, of Python and of what it is built on, as a report of a fault needs them."""
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "lightning"))
    return f"ostinato {version('ostinato')} (Python {platform.python_version()}, {packages}, {platform.system()})"


def usage_line(command: str, name: str = "") -> str:
    """Return the line of usage of a command, or of a command with an experiment."""
    return " ".join(filter(None, ["ostinato", command, name or COMMANDS[command].arguments, "[OPTIONS]"]))


def examples(command: str, name: str = "") -> list[str]:
    """Return the examples of a command, with an experiment's name."""
    usage = COMMANDS[command]
    return [example.replace("{name}", name or usage.name) for example in usage.examples]


def parser(command: str) -> Any:
    """Return the parser of a command that takes no experiment's hyperparameters."""
    made = (OneLineParser if command in options.TYPED else Parser)(
        prog=f"ostinato {command}",
        usage=usage_line(command),
        description=COMMANDS[command].description,
        allow_abbrev=False,
    )
    made.examples = examples(command)
    options.OTHERS[command](made)
    return made


def known_help(command: str, arguments: Sequence[str]) -> str | None:
    """Return the help that a command line asks for; None if it does not, or if overrides can change the help.

    Args:
        command: The command.
        arguments: The arguments that follow it.
    """
    if not set(HELP) & set(arguments):
        return None
    if command in options.OTHERS:
        text: str = parser(command).format_help()
        return text
    first, *rest = arguments
    if first.startswith("-"):
        return command_help(command)
    known = module_names()
    names = {*known, *(name.rpartition(".")[2] for name in known)}
    return experiment_help(command, first) if first in names and set(rest) <= set(HELP) else None


def command_help(command: str) -> str:
    """Return the help of a command that opens an experiment, without one."""
    example = COMMANDS[command].name
    made = OneLineParser(
        prog=f"ostinato {command}",
        usage=usage_line(command),
        description=COMMANDS[command].description,
        epilog=f"The hyperparameters of an experiment are options, too: `ostinato {command} {example} --help`.",
        allow_abbrev=False,
    )
    made.examples = examples(command)
    made.add_argument("--seed", type=int | None, help="Seed of weights, data order and crops.")
    made.add_argument("--data", type=str | None, help="Your own recordings or packed data.")
    options.add_experiment_options(command, made)
    return made.format_help()


def experiment_help(command: str, name: str) -> str:
    """Return the help of a command with an experiment, kept from the last time if no source file has changed."""
    stored = _help_file(command, name)
    with contextlib.suppress(OSError):
        return stored.read_text()
    with busy(f"reading {name}", at_once=True):
        text = _rendered(command, name)
    with contextlib.suppress(OSError):
        for folder in stored.parent.parent.glob("*"):
            if folder != stored.parent:
                shutil.rmtree(folder, ignore_errors=True)
        stored.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(stored, text)
    return text


def _help_file(command: str, name: str) -> Path:
    packages = [f"{package} {version(package)}" for package in ("jsonargparse", "lightning", "torch")]
    state = hashlib.sha256(" ".join([sources_state(), *packages]).encode()).hexdigest()[:24]
    return cache_folder() / "help" / state / f"{command}-{name}-{shutil.get_terminal_size().columns}.txt"


def _rendered(command: str, name: str) -> str:
    """Return the help that the command prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        import_module(f"framework.commands.{command}").run([name, "--help"])
    return printed.getvalue()
