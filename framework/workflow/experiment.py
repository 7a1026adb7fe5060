"""Command lines that name an experiment and typed overrides, read into plans."""

import argparse
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from jsonargparse import ActionConfigFile, Namespace
from lightning.pytorch.cli import LightningArgumentParser

from framework.aliases import announce, members_of
from framework.annotations import Seed, complaint, describe
from framework.catalogue import find, name_of
from framework.hyperparameters import as_tuples, stored_values
from framework.private_names.of_argparse import actions_of
from framework.progress import busy
from framework.quiet import quieten
from framework.runs.checkpoints import read_checkpoint
from framework.runs.stored_commands import give_commands, refuse_commands
from framework.trainer_arguments import ARGUMENTS, DEFAULTS, check_arguments, check_values
from framework.workflow.command import ExperimentCommand
from framework.workflow.parser import OneLineErrors, UsageError
from framework.workflow.plan import Plan, plain, values_from_data, with_data
from framework.workflow.run import ReleasedRun, Run
from framework.workflow.runs import run_named
from framework.yaml_text import parse_yaml

SHOWN_TRAINER_ARGUMENTS = (
    "max_steps", "max_time", "devices", "num_nodes", "accelerator", "strategy", "precision",
    "val_check_interval", "limit_train_batches", "limit_val_batches", "log_every_n_steps", "enable_progress_bar",
)  # fmt: skip


class ExperimentParser(OneLineErrors, LightningArgumentParser):
    """The parser of an experiment's hyperparameters.

    Attributes:
        expected: What options may be, in words, by their names.
        renamed: Today's names of hyperparameters by their former ones, for the parts `model` and `data`.
    """

    has_short_help = False
    expected: Mapping[str, str] = {}
    renamed: Mapping[str, Mapping[str, str]] = {}

    def parse_args(self, args: Any = None, *others: Any, **settings: Any) -> Any:
        """Parse a command line, which may have hyperparameters under former names."""
        return super().parse_args(None if args is None else [self._word_of_today(w) for w in args], *others, **settings)

    def parse_string(self, content: str, *others: Any, **settings: Any) -> Any:
        """Parse the content of a file of settings, which may have hyperparameters under former names."""
        values = parse_yaml(content) if any(self.renamed.values()) else None
        if isinstance(values, dict) and (today := self._values_of_today(values)) != values:
            content = yaml.safe_dump(today, sort_keys=False)
        return super().parse_string(content, *others, **settings)

    def _word_of_today(self, word: str) -> str:
        option, equals, value = word.partition("=")
        part, _, name = option.removeprefix("--").partition(".")
        if not option.startswith("--") or name not in self.renamed.get(part, {}):
            return word
        announce(option, (today := f"--{part}.{self.renamed[part][name]}"))
        return f"{today}{equals}{value}"

    def _values_of_today(self, values: dict[str, Any]) -> dict[str, Any]:
        found = {}
        for key, value in values.items():
            part, _, name = str(key).partition(".")
            renamed = self.renamed.get(part, {})
            if isinstance(value, dict):
                value = {renamed.get(n, n): v for n, v in value.items()}
            found[f"{part}.{renamed[name]}" if name in renamed else key] = value
        return found

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise a value of the wrong type as one line that says what the option may be.

        Raises:
            UsageError: always.
        """
        named = re.search(r'Parser key "([\w.]+)":', message)
        values = re.findall(r"(?:Got|Given) value: (.*)", message)
        if named and values and named[1] in self.expected:
            raise UsageError(f"{named[1]} = {values[-1]}: must be {self.expected[named[1]]}") from None
        return super().error(message, ex)


class Training(ExperimentCommand):
    """Train an experiment."""

    purpose = "train"
    examples = ()

    @property
    def name(self) -> str:
        """Name of the command that trains."""
        return "fit"


class Reader:
    """Reads command lines of one experiment into plans. No network is built.

    Args:
        experiment: The experiment.
        arguments: A command line after the experiment's name; the values of the checkpoint that it names are defaults.
        run: The run that stands in the place of the name, whose values the experiment has.
        has_other_data: Whether `--data` names other data than the experiment's or the run's own.
        command: The command, which has options of its own.
    """

    def __init__(
        self,
        experiment: Any,
        arguments: list[str],
        run: Run | None = None,
        has_other_data: bool = False,
        command: ExperimentCommand | None = None,
    ) -> None:
        self.command = command or Training()
        self.experiment, self.run, self.has_other_data = experiment, run, has_other_data
        check_settings_files(arguments)
        self.stored, self.sizes = stored_hyperparameters(arguments)
        quieten()
        self.parser = self._parser()

    def read(self, arguments: list[str]) -> "Opened":
        """Return what a command line means.

        Raises:
            UsageError, ValueError: an option does not exist, or has a wrong value.
        """
        give_commands(arguments)
        settings = self.parser.parse_args(arguments)
        self._check(settings)
        run, ckpt = self.run, settings.get("ckpt", "last")
        if ckpt != "last" and settings["ckpt_path"]:
            raise UsageError(f"--ckpt {ckpt} is of a run, --ckpt_path names a file: give one of them")
        trains = self.command.purpose == "train"
        plan = Plan(
            experiment=self.experiment,
            values=vars(settings["model"]),
            data_values={name: value for name, value in vars(settings["data"]).items() if name != "seed"},
            trainer=vars(self.parser.instantiate_classes(settings)["trainer"]).copy(),
            settings=plain(settings["trainer"].as_dict()),
            seed=settings["seed"],
            runs=settings["runs"],
            ckpt_path=(settings["ckpt_path"] or "") if trains else "",
            overfit_one_clip=bool(settings.get("overfit_one_clip")),
            has_other_data=self.has_other_data,
            run=run and run.with_ckpt(ckpt),
            ckpt=ckpt,
            weights="" if trains or run is not None else settings["ckpt_path"] or "",
            sizes=None if self.sizes is None else (settings["ckpt_path"], self.sizes),
        )
        return Opened(plan, settings)

    def _parser(self) -> "ExperimentParser":
        """Return the parser of the hyperparameters, the Trainer's arguments and the command's own options."""
        name = name_of(self.experiment)
        parser = ExperimentParser(
            prog=f"ostinato {self.command.name}",
            usage=self.command.usage(name),
            description=f"{inspect.getdoc(self.experiment)} {self.command.description}",
            allow_abbrev=False,
        )
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="A YAML or JSON file with settings.")
        parser.add_argument(
            "--seed", type=int, default=self.experiment.seed, help="Seed of weights, data order and crops."
        )
        self.command.add_all_arguments(parser)
        if self.run is not None:
            parser.set_defaults(defaults_of(self.command, self.run))
        parser.add_class_arguments(L.Trainer, "trainer", fail_untyped=False, instantiate=False, sub_configs=True)
        parser.set_defaults(
            {f"trainer.{n}": value for n, value in self._trainer_defaults().items() if n != "callbacks"}
        )
        for part, cls in (("model", self.experiment), ("data", self.experiment.data)):
            parser.add_class_arguments(cls, part, fail_untyped=False, instantiate=False, sub_configs=True)
        if "seed" in self.experiment.data.hyperparameters:
            parser.link_arguments("seed", "data.seed")
        parser.examples = self.command.examples_of(name)
        parser.expected = expected(self.experiment)
        parser.renamed = {"model": members_of(self.experiment), "data": members_of(self.experiment.data)}
        stored = stored_values(self.experiment, self.stored) if self.stored else {}
        known = self.experiment.hyperparameters
        parser.set_defaults({f"model.{n}": value for n, value in stored.items() if n in known})
        for action in actions_of(parser):
            argument = action.dest.removeprefix("trainer.")
            if action.dest.startswith("trainer.") and argument not in SHOWN_TRAINER_ARGUMENTS:
                action.help = argparse.SUPPRESS
        return parser

    def _trainer_defaults(self) -> dict[str, Any]:
        own = {
            n: getattr(self.experiment, n) for n, p in self.experiment.hyperparameters.items() if p.kind == "trainer"
        }
        own.pop("seed")
        if self.run is not None and self.command.purpose == "train":
            # What else of the Trainer's arguments the run's identity depends on.
            kept = self.run.identity.get("trainer", {}).keys() - own.keys()
            own |= {name: self.run.config["trainer"][name] for name in kept if name in self.run.config["trainer"]}
        return DEFAULTS | own

    def _check(self, settings: Namespace) -> None:
        """Refuse values out of their ranges, and arguments of the Trainer that a run cannot have.

        Raises:
            UsageError, ValueError: naming the option, its value, and what it may be, or what to use instead.
        """
        if said := complaint(settings["seed"], Seed):
            raise UsageError(f"seed = {settings['seed']}: {said}")
        for part in ("model", "data", "trainer"):
            if not isinstance(settings[part], Namespace):
                raise UsageError(f"{part} = {str(settings[part])[:40]}: settings by their names are needed")
        for part, cls in (("model", self.experiment), ("data", self.experiment.data)):
            for name, value in vars(settings[part]).items():
                if said := complaint(as_tuples(value), cls.hyperparameters[name].annotation):
                    raise UsageError(f"{part}.{name} = {in_yaml(value)}: {said}")
        self._check_commands(settings)
        for name, value in values_from_data(self.experiment, vars(settings["model"]), vars(settings["data"])).items():
            settings["model"][name] = value
        trainer = plain(settings["trainer"].as_dict())
        check_values(trainer)
        if self.command.purpose in ("train", "check"):
            check_arguments(trainer, plain(self.parser.get_defaults()["trainer"].as_dict()))

    def _check_commands(self, settings: Namespace) -> None:
        """Refuse a command to run that neither the command line nor the code names, but a file of settings.

        Raises:
            StoredCommandError: naming the file.
        """
        files = settings.get("config") or []
        own = {n: p.default for n, p in self.experiment.data.hyperparameters.items()}
        changed = {n: value for n, value in vars(settings["data"]).items() if value != own.get(n)}
        if files:
            refuse_commands({"data": changed}, ", ".join(map(str, files)))


@dataclass(frozen=True)
class Opened:
    """What a command line with an experiment means.

    Args:
        plan: The experiment with its overrides.
        settings: The values of all options, those of the command among them.
    """

    plan: Plan
    settings: Namespace


def open_experiment(arguments: list[str], command: ExperimentCommand | None = None) -> Opened:
    """Return the experiment that a command line names, with its overrides; no network is built yet.

    In the place of its name there may be a run's folder, one of its checkpoints, or a file by `ostinato release`: then
    the values are those of the run. W&B's agents can name it nowhere but among the overrides, as `--experiment=NAME`.

    Raises:
        UsageError: the name is missing, or an override is wrong.
        RunError, ReleaseError: there is no such run, or the code is another one now.
    """
    command = command or Training()
    if named := [word for word in arguments if word.startswith("--experiment=")]:
        arguments = [named[-1].partition("=")[2], *(word for word in arguments if word not in named)]
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(f"ostinato {command.name} needs the name of an experiment (`ostinato list` shows all)")
    name, *overrides = arguments
    with busy(f"opening {name}"):
        run = named_run(command, name, overrides)
        found = find(name) if run is None else run.experiment()
        experiment, overrides = on_recordings(found, overrides)
        if getattr(experiment, "data", None) is None:
            raise UsageError(f"{experiment.__name__} has no data: set `data = ...` in {experiment.__module__}")
        return Reader(experiment, overrides, run, experiment is not found, command).read(overrides)


def named_run(command: ExperimentCommand, target: str, overrides: list[str]) -> Run | None:
    """Return the run that stands in the place of an experiment's name; None where that is a name.

    Raises:
        UsageError: a checkpoint is given twice, or one that cannot be trained.
        RunError, ReleaseError: there is no such run.
    """
    run = run_named(target, runs=option("runs", overrides))
    if run is None:
        return None
    if option("ckpt_path", overrides):
        raise UsageError(f"{target} has its own checkpoints: name the one to use by --ckpt, or leave --ckpt_path out")
    if command.purpose == "train" and run.is_given and not isinstance(run, ReleasedRun):
        raise UsageError(
            f"{target} is one checkpoint: name the folder {run.folder.path} to continue the run, or an experiment with "
            f"--ckpt_path {target} to start another run from it"
        )
    return run


def option(name: str, arguments: list[str]) -> str | None:
    """Return the value of an option of a command line, None where it is not there."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(f"--{name}")
    found: str | None = getattr(parser.parse_known_args(arguments)[0], name)
    return found


def defaults_of(command: ExperimentCommand, run: Run) -> dict[str, Any]:
    """Return the options that a run in the place of an experiment's name gives a command."""
    trains = command.purpose == "train"
    if isinstance(run, ReleasedRun):
        return {"ckpt_path": str(run.path)} if trains else {}
    found: dict[str, Any] = {"runs": str(run.root)}
    return found | ({"overfit_one_clip": True} if trains and run.identity.get("overfit_one_clip") else {})


def on_recordings(experiment: Any, overrides: list[str]) -> tuple[Any, list[str]]:
    """Take `--data FOLDER` out of a command line: the experiment on one's own recordings instead of its own data."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--data")
    known, rest = parser.parse_known_args(overrides)
    return (experiment, overrides) if known.data is None else (with_data(experiment, known.data), rest)


def stored_hyperparameters(arguments: list[str]) -> tuple[dict[str, Any], list[int] | None]:
    """Return the hyperparameters of the checkpoint that a command line names, and the sizes of its weights.

    There are none without such hyperparameters: official checkpoints have none.

    Raises:
        UsageError: the hyperparameters are no dictionary.
    """
    path = option("ckpt_path", arguments)
    checkpoint = read_checkpoint(path) if path else {}
    values, weights = checkpoint.get("hyper_parameters", {}), checkpoint.get("released", checkpoint.get("state_dict"))
    if not isinstance(values, dict):
        raise UsageError(f"{path} has {str(values)[:40]!r} as hyperparameters: use another checkpoint")
    if not values or not isinstance(weights, dict):
        return values, None
    return values, [value.numel() for value in weights.values() if isinstance(value, torch.Tensor)]


def check_settings_files(arguments: list[str]) -> None:
    """Refuse files of settings that take long to read.

    Raises:
        UsageError: naming the file.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="append", default=[])
    for file in map(Path, parser.parse_known_args(arguments)[0].config):
        try:
            if file.is_file():
                parse_yaml(file.read_text())
        except (OSError, ValueError) as error:
            raise UsageError(f"--config {file} cannot be used ({' '.join(str(error).split())}): correct it") from None


def expected(experiment: Any) -> dict[str, str]:
    """Return what each option of an experiment may be, in words."""
    parts = (("model", experiment.hyperparameters), ("data", experiment.data.hyperparameters))
    found = {f"{part}.{n}": describe(p.annotation) for part, known in parts for n, p in known.items()}
    found |= {f"trainer.{name}": argument.expected for name, argument in ARGUMENTS.items() if not argument.instead}
    return found | {"seed": describe(Seed)}


def in_yaml(value: Any) -> str:
    """Return a value as it is written on a command line."""
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(in_yaml, value))}]"
    return "null" if value is None else str(value)
