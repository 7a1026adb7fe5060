"""An experiment opened from the command line: typed overrides, its system, its data and its trainer's settings."""

import argparse
import inspect
import re
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import seed_everything
from lightning.pytorch.cli import LightningArgumentParser

from framework.aliases import announce, members_of
from framework.annotations import Seed, complaint, describe
from framework.catalogue import find, name_of
from framework.hyperparameters import HyperparameterError, as_tuples, stored_values
from framework.private_names.of_argparse import actions_of
from framework.private_names.of_lightning import CommandLine
from framework.progress import busy
from framework.quiet import quieten
from framework.runs.checkpoints import read_checkpoint
from framework.runs.finding import runs_in
from framework.runs.folder import RunFolder
from framework.runs.limits import sized_by
from framework.runs.released import read_sizes
from framework.runs.stored_commands import give_commands, refuse_commands
from framework.trainer_arguments import ARGUMENTS, DEFAULTS, check_arguments, check_values
from framework.workflow.options import add_experiment_options
from framework.workflow.parser import OneLineErrors, UsageError
from framework.workflow.plan import Plan, plain, with_data
from framework.workflow.runs import ReleasedRun, Run, run_named
from framework.workflow.usage import COMMANDS, examples, usage_line
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


class ExperimentCLI(CommandLine):
    """LightningCLI in class mode for one experiment; makes the system and the data, and leaves the trainer to `fit`.

    Args:
        command: Name of the command.
        experiment: The experiment.
        arguments: Those behind its name.
        run: The run that stands in the place of the name, whose values the experiment has.
        has_other_data: Whether `--data` names other data than the experiment's or the run's own.
    """

    def __init__(
        self,
        command: str,
        experiment: Any,
        arguments: list[str],
        run: Run | None = None,
        has_other_data: bool = False,
    ) -> None:
        self.command, self.experiment, self.run, self.has_other_data = command, experiment, run, has_other_data
        check_settings_files(arguments)
        self.stored, self.stored_sizes = stored_hyperparameters(arguments)
        if isinstance(run, ReleasedRun):
            self.stored_sizes = read_sizes(run.path)
        give_commands(arguments)
        defaults = {n: getattr(experiment, n) for n, p in experiment.hyperparameters.items() if p.kind == "trainer"}
        self.seed_default = defaults.pop("seed")
        if run is not None and command == "fit":
            # What else of the Trainer's arguments the run's identity depends on.
            kept = run.identity.get("trainer", {}).keys() - defaults.keys()
            defaults |= {name: run.config["trainer"][name] for name in kept if name in run.config["trainer"]}
        quieten()
        super().__init__(
            experiment,
            experiment.data,
            trainer_defaults=DEFAULTS | defaults,
            save_config_callback=None,
            parser_class=ExperimentParser,
            parser_kwargs={
                "prog": f"ostinato {command}",
                "usage": usage_line(command, name_of(experiment)),
                "description": f"{inspect.getdoc(experiment)} {COMMANDS[command].description}",
                "allow_abbrev": False,
            },
            args=arguments,
            run=False,
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
        )
        ckpt = self.config.get("ckpt", "last")
        if ckpt != "last" and self.config["ckpt_path"]:
            raise UsageError(f"--ckpt {ckpt} is of a run, --ckpt_path names a file: give one of them")
        self.run = run and run.with_ckpt(ckpt)

    def add_default_arguments_to_parser(self, parser: Any) -> None:
        """Add the arguments that are neither the system's, the data's nor the trainer's."""
        parser.add_argument(
            "--seed", type=int, default=self.seed_default, help="Seed of weights, data order and crops."
        )
        add_experiment_options(self.command, parser)
        if self.run is not None:
            parser.set_defaults(defaults_of(self.command, self.run))
        parser.examples = examples(self.command, name_of(self.experiment))

    def add_arguments_to_parser(self, parser: Any) -> None:
        """Tie the data's seed to the run's, take a checkpoint's values as defaults, and shorten the help."""
        data = self.experiment.data.hyperparameters
        if "seed" in data:
            parser.link_arguments("seed", "data.seed")
        known = self.experiment.hyperparameters
        parser.expected = expected(self.experiment)
        parser.renamed = {"model": members_of(self.experiment), "data": members_of(self.experiment.data)}
        stored = stored_values(self.experiment, self.stored) if self.stored else {}
        parser.set_defaults({f"model.{n}": value for n, value in stored.items() if n in known})
        for action in actions_of(parser):
            name = action.dest.removeprefix("trainer.")
            if action.dest.startswith("trainer.") and name not in SHOWN_TRAINER_ARGUMENTS:
                action.help = argparse.SUPPRESS

    def before_instantiate_classes(self) -> None:
        """Check what was parsed."""
        self.check()

    def check(self) -> None:
        """Refuse values out of their ranges, and arguments of the Trainer that a run cannot have.

        Raises:
            UsageError, ValueError: naming the option, its value, and what it may be, or what to use instead.
        """
        for part in ("model", "data", "trainer"):
            if not isinstance(self.config[part], Namespace):
                raise UsageError(f"{part} = {str(self.config[part])[:40]}: settings by their names are needed")
        for part, cls in (("model", self.experiment), ("data", self.experiment.data)):
            for name, value in vars(self.config[part]).items():
                if said := complaint(as_tuples(value), cls.hyperparameters[name].annotation):
                    raise UsageError(f"{part}.{name} = {in_yaml(value)}: {said}")
        self.check_commands()
        self.check_seed()
        check_values(self.trainer_settings)
        if self.command in ("fit", "doctor"):
            check_arguments(self.trainer_settings, plain(self.parser.get_defaults()["trainer"].as_dict()))

    def check_commands(self) -> None:
        """Refuse a command to run that neither the command line nor the code names, but a file of settings.

        Raises:
            StoredCommandError: naming the file.
        """
        files = self.config.get("config") or []
        own = {n: p.default for n, p in self.experiment.data.hyperparameters.items()}
        changed = {n: value for n, value in vars(self.config["data"]).items() if value != own.get(n)}
        if files:
            refuse_commands({"data": changed}, ", ".join(map(str, files)))

    def instantiate_classes(self) -> None:
        """Make the system and the data module.

        Raises:
            UsageError: their values do not fit into memory.
        """
        try:
            file = self.config["ckpt_path"] or (self.run.path if self.run else "")
            limits = nullcontext() if self.stored_sizes is None else sized_by(self.stored_sizes, file)
            with runs_in(self.config["runs"]), limits:
                super().instantiate_classes()
        except HyperparameterError as error:
            for part, cls in (("model", self.experiment), ("data", self.experiment.data)):
                if str(error).startswith(f"{cls.__qualname__}."):
                    raise UsageError(f"{part}{str(error).removeprefix(cls.__qualname__)}") from error
            raise

    def check_seed(self) -> None:
        """Refuse seeds that PyTorch and NumPy do not have; Lightning sets the seed before it asks for any check.

        Raises:
            UsageError: naming the seeds that there are.
        """
        if said := complaint(self.config["seed"], Seed):
            raise UsageError(f"seed = {self.config['seed']}: {said}")

    def seed_everything(self) -> None:
        """Check the seed, and seed the generators of random numbers."""
        self.check_seed()
        seed_everything(self.config["seed"], workers=True, verbose=False)

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Make no trainer yet: its folder is the run's, whose identity needs the prepared data."""
        return None

    @property
    def name(self) -> str:
        """Last part of the experiment's name."""
        return self.experiment.__module__.rpartition(".")[2]

    @property
    def trainer_arguments(self) -> dict[str, Any]:
        """The resolved arguments of Lightning's Trainer, with the objects that it takes."""
        return vars(self.config_init["trainer"]).copy()

    @property
    def trainer_settings(self) -> dict[str, Any]:
        """The resolved arguments of Lightning's Trainer as plain values, with classes in the place of objects."""
        settings: dict[str, Any] = plain(self.config["trainer"].as_dict())
        return settings

    @property
    def plan(self) -> Plan:
        """The experiment with its overrides, for the functions of the library."""
        given = {part: vars(self.config[part]) for part in ("model", "data")}
        plan = Plan(
            experiment=self.experiment,
            values=given["model"],
            data_values={name: value for name, value in given["data"].items() if name != "seed"},
            trainer=self.trainer_arguments,
            settings=self.trainer_settings,
            seed=self.config["seed"],
            runs=self.config["runs"],
            ckpt_path=(self.config["ckpt_path"] or "") if self.command == "fit" else "",
            overfit_one_clip=bool(self.config.get("overfit_one_clip")),
            has_other_data=self.has_other_data,
            run=self.run,
        )
        vars(plan).update(system=self.model, data=self.datamodule)
        return plan

    @property
    def validation_interval(self) -> int:
        """Steps between two validations."""
        return self.plan.validation_interval

    def identity(self, manifest: str | None = None) -> dict[str, Any]:
        """Return the run's identity; see `Plan.identity`."""
        return self.plan.identity(manifest)

    def prepare_data(self) -> None:
        """Prepare the data: what is packed, rendered or downloaded once."""
        self.plan.prepare_data()

    def folder(self) -> RunFolder:
        """Return the run's folder, which its identity names."""
        return self.plan.folder()


def open_experiment(command: str, arguments: list[str]) -> ExperimentCLI:
    """Return the experiment that a command line names, with its overrides applied.

    In the place of its name there may be a run's folder, one of its checkpoints, or a file by `ostinato release`: then
    the values are those of the run. W&B's agents can name it nowhere but among the overrides, as `--experiment=NAME`.

    Raises:
        UsageError: the name is missing, or an override is wrong.
        RunError, ReleaseError: there is no such run, or the code is another one now.
    """
    if named := [word for word in arguments if word.startswith("--experiment=")]:
        arguments = [named[-1].partition("=")[2], *(word for word in arguments if word not in named)]
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(f"ostinato {command} needs the name of an experiment (`ostinato list` shows all)")
    name, *overrides = arguments
    with busy(f"opening {name}"):
        run = named_run(command, name, overrides)
        found = find(name) if run is None else run.experiment()
        experiment, overrides = on_recordings(found, overrides)
        if getattr(experiment, "data", None) is None:
            raise UsageError(f"{experiment.__name__} has no data: set `data = ...` in {experiment.__module__}")
        return ExperimentCLI(command, experiment, overrides, run, experiment is not found)


def named_run(command: str, target: str, overrides: list[str]) -> Run | None:
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
    if command == "fit" and run.is_given and not isinstance(run, ReleasedRun):
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


def defaults_of(command: str, run: Run) -> dict[str, Any]:
    """Return the options that a run in the place of an experiment's name gives a command."""
    if isinstance(run, ReleasedRun):
        return {"ckpt_path": str(run.path)} if command == "fit" else {}
    found: dict[str, Any] = {"runs": str(run.root)}
    return found | ({"overfit_one_clip": True} if command == "fit" and run.identity.get("overfit_one_clip") else {})


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
