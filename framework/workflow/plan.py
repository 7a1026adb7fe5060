"""An experiment with all its values, and the run that these stand for."""

import enum
import functools
import hashlib
import importlib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch import seed_everything

from datamodules.audio_folder import AudioFolder
from datamodules.streaming.audio_data import AudioData
from framework.aliases import members_of
from framework.annotations import Seed, complaint
from framework.catalogue import find, first_line, name_of, shown
from framework.data_module import DataModule, follow_data
from framework.errors import InvalidTypeError, InvalidValueError
from framework.hyperparameters import HyperparameterError, Hyperparameters, as_tuples, nearest
from framework.progress import busy
from framework.runs.finding import RUNS, runs_in
from framework.runs.folder import RunFolder, run_folder
from framework.runs.identity import identity, signature
from framework.runs.limits import sized_by
from framework.runs.released import read_sizes
from framework.trainer_arguments import (
    ARGUMENTS,
    DEFAULTS,
    changes_results,
    check_arguments,
    check_values,
    listed,
    validation_interval,
)
from framework.workflow.run import ReleasedRun, Run
from framework.workflow.runs import run_named


@dataclass
class Plan:
    """An experiment with all its values: what is trained, on which data, and which run that is.

    The system and the data module are made when they are first needed, the system from the run's seed.

    Args:
        experiment: The experiment's class, whose `data` is the class of the data module.
        values: Hyperparameters of the system that differ from the class's.
        data_values: Hyperparameters of the data module that differ from the class's.
        trainer: All arguments of Lightning's Trainer, with objects where it takes them.
        settings: The same as plain values, with `class_path` and `init_args` in the place of objects.
        seed: Seed of weights, data order and crops.
        runs: Folder of all runs.
        ckpt_path: Checkpoint or release that a training starts from; empty for none.
        overfit_one_clip: Whether the training is on a single segment.
        has_other_data: Whether the data are other than the experiment's or the run's own.
        run: The run that the values were taken from; None where they are an experiment's.
        ckpt: Which checkpoint of the run that the values stand for is used: `last`, `best` or a step.
        weights: A file whose weights are used in the place of the run's: a checkpoint, a release, or an official one.
        sizes: A file that the values were taken from, and the number of weights of each of its tensors: a network that
            is far larger is not built. None where no file gave the values.
    """

    experiment: Any
    values: dict[str, Any] = field(default_factory=dict)
    data_values: dict[str, Any] = field(default_factory=dict)
    trainer: dict[str, Any] = field(default_factory=dict, repr=False)
    settings: dict[str, Any] = field(default_factory=dict, repr=False)
    seed: int = 0
    runs: str | Path = RUNS
    ckpt_path: str = ""
    overfit_one_clip: bool = False
    has_other_data: bool = False
    run: Run | None = None
    ckpt: str | int = "last"
    weights: str = ""
    sizes: tuple[str, Sequence[int]] | None = field(default=None, repr=False)

    @functools.cached_property
    def system(self) -> Any:
        """The system, with weights that follow from the seed.

        Raises:
            HyperparameterError: the values do not fit into memory, or not together.
            TooLargeError: they were taken from a file whose weights are far fewer.
        """
        file, sizes = self.sizes or ("", None)
        if isinstance(self.run, ReleasedRun):
            file, sizes = str(self.run.path), read_sizes(self.run.path)
        seed_everything(self.seed, workers=True, verbose=False)
        limits = nullcontext() if sizes is None else sized_by(sizes, file)
        with busy(f"building {self.name}"), self._named_by_options(), runs_in(self.runs), limits:
            return self.experiment(**self.values)

    @functools.cached_property
    def data(self) -> Any:
        """The data module."""
        known = self.experiment.data.hyperparameters
        with self._named_by_options():
            return self.experiment.data(**self.data_values, **({"seed": self.seed} if "seed" in known else {}))

    @contextmanager
    def _named_by_options(self) -> Iterator[None]:
        """Let errors in hyperparameters name `model.channels` in the place of `HiFiGANBach.channels`."""
        try:
            yield
        except HyperparameterError as error:
            for part, cls in (("model", self.experiment), ("data", self.experiment.data)):
                if str(error).startswith(f"{cls.__qualname__}."):
                    raise type(error)(f"{part}{str(error).removeprefix(cls.__qualname__)}") from error
            raise

    @property
    def name(self) -> str:
        """Last part of the experiment's name."""
        return str(self.experiment.__module__.rpartition(".")[2])

    @property
    def validation_interval(self) -> int:
        """Steps between two validations."""
        return validation_interval(self.settings, self.data)

    @functools.cached_property
    def described(self) -> Any:
        """The system by its hyperparameters alone, without networks where its identity does not depend on them."""
        if "system" in vars(self):
            return self.system
        variant = self.experiment.variant(**as_tuples(self.values))
        return variant.__new__(variant) if variant.resolved is Hyperparameters.resolved else self.system

    def prepare_data(self) -> None:
        """Prepare the data: what is packed, rendered or downloaded once."""
        with busy("preparing the data"):
            self.data.prepare_data()

    def identity(self, manifest: str | None = None) -> dict[str, Any]:
        """Return everything that the run's result depends on.

        Args:
            manifest: Hash that stands for the data; by default they are prepared and asked for theirs.
        """
        if manifest is None:
            self.prepare_data()
        found = identity(self.described, self.data, self.settings, self.seed, manifest)
        stored = self.run.identity if self.run else {}
        if self.ckpt_path:
            found["start"] = file_hash(self.ckpt_path)
        elif "start" in stored:
            found["start"] = stored["start"]
        return found | ({"overfit_one_clip": True} if self.overfit_one_clip else {})

    def folder(self) -> RunFolder:
        """Prepare the data and return the folder of the run."""
        return run_folder(self.runs, type(self.described).system(), signature(self.identity()))

    def resolved(self) -> dict[str, Any]:
        """Return the whole resolved configuration as plain values."""
        return {
            "model": dict(self.system.hparams),
            "data": {"class": type(self.data).__name__, **dict(self.data.hparams)},
            "trainer": {n: v for n, v in self.settings.items() if v is not None},
            "seed": self.seed,
        }

    def changes(self) -> dict[str, tuple[Any, Any]]:
        """Return the values that differ from the experiment's, by option: `{name: (the experiment's, own)}`."""
        parts = (("model", self.experiment, self.values), ("data", self.experiment.data, self.data_values))
        given = {
            f"{part}.{name}": (cls.hyperparameters[name].default, as_tuples(value))
            for part, cls, values in parts
            for name, value in values.items()
            if name in cls.hyperparameters and name != "seed"
        }
        return {name: (old, new) for name, (old, new) in given.items() if old != new}

    def __str__(self) -> str:
        """Return what is planned: the experiment, and what differs from it."""
        lines = [f"{name_of(self.experiment)}: {first_line(self.experiment)}"]
        lines += [f"  {name}: {shown(old)} -> {shown(new)}" for name, (old, new) in self.changes().items()]
        return "\n".join([*lines, f"  seed {self.seed}, {self.settings['max_steps']} steps, runs in {self.runs}/"])


def resolve(
    experiment: Any,
    overrides: Mapping[str, Any] | None = None,
    *,
    data: Any = None,
    runs: str | Path | None = None,
    ckpt_path: str | Path = "",
    overfit_one_clip: bool = False,
    **values: Any,
) -> Plan:
    """Return an experiment with overrides, checked: names, types and ranges.

    Args:
        experiment: Its name or class; or a run, or the path of one, whose values it has then.
        overrides: Values by the options of the command line, as `{"model.mel_weight": 15, "data.batch_size": 8}`.
        data: A folder of recordings, packed data or a URL in the place of the experiment's own data; or the class of a
            data module.
        runs: Folder of all runs; by default `runs`, or that of the run.
        ckpt_path: Checkpoint or release that a training starts from.
        overfit_one_clip: Whether to train on a single segment.
        values: The same as overrides, by names without a dot that only one of the system, the data module and
            Lightning's Trainer has.

    Raises:
        UnknownExperimentError: there is no such experiment.
        HyperparameterError: a value has the wrong type or is out of its range.
        InvalidValueError: there is no such option.
    """
    run, found = opened_experiment(experiment)
    chosen = with_data(found, data)
    given = placed({**(overrides or {}), **values}, chosen)
    trainer, settings = trainer_of(chosen, given["trainer"], run)
    seed = given["run"].get("seed", chosen.seed)
    if said := complaint(seed, Seed):
        raise InvalidValueError(f"seed = {seed}: {said}")
    chosen.variant(**as_tuples(given["model"]))
    chosen.data.variant(**as_tuples(given["data"]))
    given["model"] |= values_from_data(chosen, given["model"], given["data"])
    own_runs: str | Path = RUNS if run is None or isinstance(run, ReleasedRun) else run.root
    return Plan(
        experiment=chosen,
        values=given["model"],
        data_values=given["data"],
        trainer=trainer,
        settings=settings,
        seed=seed,
        runs=own_runs if runs is None else runs,
        ckpt_path=str(ckpt_path or ""),
        overfit_one_clip=overfit_one_clip or bool(run and run.identity.get("overfit_one_clip")),
        has_other_data=chosen is not found,
        run=run,
    )


def opened_experiment(experiment: Any) -> tuple[Run | None, Any]:
    """Return a run and the experiment with its values; or None and the experiment of a name."""
    run = experiment if isinstance(experiment, Run) else None
    if isinstance(experiment, (str, Path)):
        run = run_named(experiment)
    if run is not None:
        return run, run.experiment()
    found = find(experiment) if isinstance(experiment, str) else experiment
    if not isinstance(found, type) or not hasattr(found, "hyperparameters"):
        raise InvalidTypeError(f"{found!r} is no experiment: pass its name or its class")
    return None, found


def with_data(experiment: Any, data: Any) -> Any:
    """Return an experiment with other data than its own.

    What it sets of every data module (segment, batch, gain) holds for these too.

    Args:
        experiment: The experiment.
        data: A folder, packed data or a URL; the class of a data module; None for its own data.

    Raises:
        InvalidTypeError: the experiment has no data and none are given.
    """
    if data is None:
        if getattr(experiment, "data", None) is None:
            raise InvalidTypeError(f"{experiment.__name__} has no data: set `data = ...` in {experiment.__module__}")
        return experiment
    if isinstance(data, type):
        return experiment.variant(data=data)
    path, own_data = str(data), getattr(experiment, "data", AudioFolder)
    written = getattr(own_data, "of_folder", own_data if "path" in own_data.hyperparameters else None)
    if written and not issubclass(written, AudioData):
        grid = {
            n: own_data.hyperparameters[n].default for n in written.hyperparameters if n in own_data.hyperparameters
        }
        return experiment.variant(data=written.variant(**grid | {"path": path}))
    own = own_data.hyperparameters
    shared = {n: own[n].default for n, p in AudioData.hyperparameters.items() if own[n].default != p.default}
    return experiment.variant(data=AudioFolder.variant(path=path, **shared))


def values_from_data(experiment: Any, values: Mapping[str, Any], data_values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters of the system that follow from the data, where they were not set.

    Args:
        experiment: The experiment.
        values: Hyperparameters of the system, of which those that are the experiment's own count as not set.
        data_values: Hyperparameters of the data module.

    Raises:
        InvalidValueError: a value does not suit the data; the message names both options.
    """
    if not issubclass(experiment.data, DataModule):
        return {}
    return follow_data(experiment, as_tuples(dict(values)), experiment.data(**as_tuples(dict(data_values))))


def placed(given: Mapping[str, Any], experiment: Any) -> dict[str, dict[str, Any]]:
    """Return values by the part that they belong to: `model`, `data`, `trainer` or `run`.

    Raises:
        InvalidValueError: a name belongs to none, or to several.
    """
    known = {
        "model": [n for n, p in experiment.hyperparameters.items() if p.is_argument],
        "data": [n for n, p in experiment.data.hyperparameters.items() if p.is_argument and n != "seed"],
        "trainer": list(ARGUMENTS),
        "run": ["seed"],
    }
    renamed = {**members_of(experiment), **members_of(experiment.data)}
    found: dict[str, dict[str, Any]] = {part: {} for part in known}
    for option, value in given.items():
        part, _, name = option.rpartition(".")
        name = renamed.get(name, name)
        parts = [p for p, names in known.items() if name in names and part in ("", p)]
        if len(parts) > 1 and "trainer" in parts and ARGUMENTS[name].instead:
            parts.remove("trainer")
        if parts[:2] == ["model", "data"] and experiment.hyperparameters[name].kind == "shape":
            parts.remove("model")
        if len(parts) > 1:
            raise InvalidValueError(f"{name} is ambiguous: write {' or '.join(f'{p}.{name}' for p in parts)}")
        if not parts:
            options = [n if p == "run" else f"{p}.{n}" for p, names in known.items() for n in names]
            bare = [o.rpartition(".")[2] for o in options]
            raise InvalidValueError(f"no value {option!r}: {nearest(option, options if part else bare)}")
        found[parts[0]][name] = value
    return found


def trainer_of(experiment: Any, given: Mapping[str, Any], run: Run | None = None) -> tuple[dict[str, Any], dict]:
    """Return all arguments of Lightning's Trainer: with objects, and as plain values.

    Args:
        experiment: The experiment, which has defaults of its own.
        given: Arguments that were given. Callbacks are objects, or `{"class_path": ..., "init_args": {...}}`; one that
            can change a result has to be the latter, as it is part of the run's identity.
        run: The run whose arguments are kept.

    Raises:
        ValueError, TypeError: an argument has a value that a run cannot have.
    """
    defaults = {n: p.default for n, p in inspect.signature(L.Trainer.__init__).parameters.items() if n in ARGUMENTS}
    defaults |= DEFAULTS
    own = {n: getattr(experiment, n) for n, p in experiment.hyperparameters.items() if p.kind == "trainer"}
    own.pop("seed", None)
    kept = {n: run.config["trainer"][n] for n in run.identity.get("trainer", {}) if n not in own} if run else {}
    arguments = {**defaults, **own, **kept, **given}
    settings = arguments | {"callbacks": [configured(c) for c in listed(arguments["callbacks"])] or None}
    check_values(settings)
    check_arguments(settings, {**defaults, **own})
    return arguments | {"callbacks": [made(c) for c in listed(arguments["callbacks"])] or None}, plain(settings)


def configured(callback: Any) -> dict[str, Any]:
    """Return a callback as it is written in a configuration.

    Raises:
        InvalidTypeError: it is an object of a class that can change results, whose arguments are not known.
    """
    if isinstance(callback, Mapping):
        return dict(callback)
    found = {"class_path": f"{type(callback).__module__}.{type(callback).__qualname__}"}
    if changes_results(found):
        raise InvalidTypeError(
            f"trainer.callbacks: {type(callback).__name__} can change the result and is part of the run's identity: "
            f'pass {{"class_path": "{found["class_path"]}", "init_args": {{...}}}} in its place'
        )
    return found


def made(callback: Any) -> Any:
    """Return a callback as an object."""
    if not isinstance(callback, Mapping):
        return callback
    module, _, name = callback["class_path"].rpartition(".")
    return getattr(importlib.import_module(module), name)(**callback.get("init_args", {}))


def plain(value: Any) -> Any:
    """Return a configuration as plain YAML types."""
    if isinstance(value, dict):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, enum.Enum):
        return plain(value.value)
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def file_hash(path: str | Path) -> str:
    """Return the hash of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]
