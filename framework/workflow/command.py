"""What a command of `ostinato` is: a class in a file of its own, with its help, its arguments and what it does.

    class Length(Command):
        '''Print the total length of the recordings in a folder.'''

        group = "data"
        takes = "FOLDER"
        summary = "total length of recordings"
        examples = ("ostinato length recordings/",)

        def add_arguments(self, parser):
            parser.add_argument("folder", type=Path, help="A folder of recordings.")

        def run(self, settings):
            print(total_length(settings.folder))

All files of commands are imported for `ostinato --help`, so they import nothing that takes long, except inside `run`.
"""

import inspect
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from framework.progress import busy
from framework.workflow.parser import OneLineParser

if TYPE_CHECKING:
    from framework.workflow.plan import Plan

Group = Literal["experiments", "training", "evaluation", "generation", "sharing", "sweeps", "data"]
"""Headings in the list of commands, in their order."""
HELP = ("-h", "--help")


class BaseCommand:
    """What all commands have. The docstring of a command's class is the description in its help.

    Attributes:
        group: Heading in the list of commands.
        takes: Its arguments, as in a line of usage.
        summary: A few words for the list of commands.
        examples: Command lines; `{name}` is replaced by an experiment's name.
        loads: A module that is needed and takes seconds to import; a line says so meanwhile.
    """

    group: ClassVar[Group]
    takes: ClassVar[str] = ""
    summary: ClassVar[str]
    examples: ClassVar[tuple[str, ...]]
    loads: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """Name of the command: that of its file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def description(self) -> str:
        """Full sentences about what the command does."""
        return " ".join((inspect.getdoc(type(self)) or "").split())

    def add_arguments(self, parser: Any) -> None:
        """Add the command's own arguments; a subclass overrides this."""

    def main(self, words: list[str]) -> int | None:
        """Parse the words that follow the command's name, and do the work; return the exit status, None for 0."""
        raise NotImplementedError

    def load(self) -> None:
        """Import what takes long."""
        if self.loads:
            quick = self.loads in sys.modules or "lightning.pytorch" in sys.modules
            with nullcontext() if quick else busy("loading PyTorch", at_once=True):
                import_module(self.loads)

    def usage(self, name: str = "") -> str:
        """Return the line of usage, of an experiment if one is named."""
        return " ".join(filter(None, ["ostinato", self.name, name or self.takes, "[OPTIONS]"]))

    def examples_of(self, name: str = "") -> list[str]:
        """Return the examples, with an experiment's name."""
        return list(self.examples)

    def parser(self) -> OneLineParser:
        """Return the parser of the arguments."""
        made = OneLineParser(
            prog=f"ostinato {self.name}", usage=self.usage(), description=self.description, allow_abbrev=False
        )
        made.examples = self.examples_of()
        self.add_arguments(made)
        return made

    def help(self, words: Sequence[str]) -> str | None:
        """Return the help that a command line asks for; None if it asks for none, or torch is needed for it."""
        return self.parser().format_help() if set(HELP) & set(words) else None


class Command(BaseCommand):
    """A command that opens no experiment by its hyperparameters."""

    def run(self, settings: Any) -> int | None:
        """Do the work; return the exit status, None for 0.

        Args:
            settings: The values of the arguments.
        """
        raise NotImplementedError

    def main(self, words: list[str]) -> int | None:
        """Parse the words that follow the command's name, and run it."""
        settings = self.parser().parse_args(words)
        self.load()
        return self.run(settings)


class ExperimentCommand(BaseCommand):
    """A command that opens an experiment or a run, whose hyperparameters are arguments too.

    Attributes:
        purpose: Whether it trains the experiment, checks whether it can be trained, describes it, or uses a trained
            run of it. The last takes `--ckpt`.
        example: The experiment in the examples where none is given.
    """

    takes = "NAME|RUN"
    loads = "framework.workflow.experiment"
    purpose: ClassVar[Literal["train", "check", "describe", "use"]] = "use"
    example: ClassVar[str] = "hifigan_v3"

    def run(self, plan: "Plan", settings: Any) -> int | None:
        """Do the work; return the exit status, None for 0.

        Args:
            plan: The experiment with its overrides; no network is built yet.
            settings: The values of all arguments.
        """
        raise NotImplementedError

    def main(self, words: list[str]) -> int | None:
        """Open the experiment that is named, and run the command."""
        self.load()
        from framework.workflow.experiment import open_experiment

        opened = open_experiment(words, self)
        return self.run(opened.plan, opened.settings)

    def examples_of(self, name: str = "") -> list[str]:
        """Return the examples, with an experiment's name."""
        return [example.replace("{name}", name or self.example) for example in self.examples]

    def add_all_arguments(self, parser: Any) -> None:
        """Add all arguments except `--seed` and the hyperparameters."""
        parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="A checkpoint of a run, a release or an official checkpoint; overrides replace its stored values.",
        )
        if self.purpose == "use":
            parser.add_argument(
                "--ckpt",
                type=str,
                default="last",
                metavar="last|best|STEP",
                help="Checkpoint of the run: the last one, the best one in validation, or that of a step.",
            )
        if self.purpose == "train":
            text = "Train and validate on a single segment (sanity check)."
            parser.add_argument("--overfit_one_clip", action="store_true", help=text)
        self.add_arguments(parser)

    def parser(self) -> OneLineParser:
        """Return a parser with the arguments that do not depend on the experiment."""
        help = f"`ostinato {self.name} {self.example} --help`"
        made = OneLineParser(
            prog=f"ostinato {self.name}",
            usage=self.usage(),
            description=self.description,
            epilog=f"The hyperparameters of an experiment are options, too: {help}.",
            allow_abbrev=False,
        )
        made.examples = self.examples_of()
        made.add_argument("--seed", type=int | None, help="Seed of weights, data order and crops.")
        made.add_argument("--data", type=str | None, help="Your own recordings or packed data.")
        self.add_all_arguments(made)
        return made

    def help(self, words: Sequence[str]) -> str | None:
        """Return the help that a command line asks for; of an experiment, the stored help."""
        if not set(HELP) & set(words):
            return None
        first, *rest = words
        if first.startswith("-"):
            return self.parser().format_help()
        from framework.workflow.help import stored_help

        return stored_help(self, first) if set(rest) <= set(HELP) else None


def output_argument(parser: Any, text: str, **settings: Any) -> None:
    """Add `--output`, and `--overwrite`, without which nothing is replaced."""
    parser.add_argument("--output", help=text, **settings)
    overwrite_argument(parser)


def overwrite_argument(parser: Any) -> None:
    """Add `--overwrite`."""
    parser.add_argument("--overwrite", action="store_true", help="Replace files that exist already.")


def split_argument(parser: Any) -> None:
    """Add `--split`."""
    text = "Held-out clips: validation or test; by default test where the data have test clips."
    parser.add_argument("--split", type=str, default="", help=text)


def runs_argument(parser: Any) -> None:
    """Add `--runs`."""
    parser.add_argument("--runs", type=str, default="runs", help="Folder of all runs.")
