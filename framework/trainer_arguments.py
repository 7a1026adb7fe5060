"""What `ostinato fit` does with each argument of Lightning's Trainer: one table, on which everything else stands."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Any, Literal

from framework.annotations import NonNegativeInt, PositiveInt, Range, UnitInterval, complaint, describe, without_null
from framework.errors import InvalidTypeError, InvalidValueError


@dataclass(frozen=True)
class Argument:
    """An argument of Lightning's Trainer.

    Args:
        type: Its type with the range of its values, where `None` leaves the choice to Lightning; see
            `framework.annotations`.
        words: What it may be, in words, where the type does not say it all.
        in_identity: Whether it can change a result, so that its value is part of a run's identity.
        instead: What to use in its place, where it is refused.
        default: Its value in a run, where that is not Lightning's default.
    """

    type: Any = Any
    words: str = ""
    in_identity: bool = False
    instead: str = ""
    default: Any = ...

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        return self.words or describe(without_null(self.type))


def refused(instead: str, default: Any = ..., in_identity: bool = False) -> Argument:
    """Return an argument that may have its default alone."""
    return Argument(instead=instead, default=default, in_identity=in_identity)


BATCHES = "a number of batches (20) or a share of them (0.1)"
PRECISIONS = ("32-true", "bf16-mixed")

ARGUMENTS: Mapping[str, Argument] = {
    "accelerator": Argument(str, "auto, cpu, gpu or another of Lightning's accelerators"),
    "strategy": Argument(words="auto, ddp, single_device, or the import path of a strategy"),
    "devices": Argument(words="a number of devices (2), their numbers ([0, 2]), or auto"),
    "num_nodes": Argument(PositiveInt),
    "precision": Argument(Literal["32-true", "bf16-mixed", "32", "bf16", 32], " or ".join(PRECISIONS), True),
    # Other loggers are used beside the run's own.
    "logger": Argument(words="the name or the import path of a logger"),
    # Those that can change a result are part of the identity (see `settings_in_identity`).
    "callbacks": Argument(words="the name or the import path of a callback, with its arguments"),
    "fast_dev_run": refused(
        "`ostinato doctor NAME` takes a few real steps, --trainer.max_steps more of them", in_identity=True
    ),
    "max_epochs": Argument(Annotated[int, Range(-1)] | None, in_identity=True),
    "min_epochs": Argument(NonNegativeInt | None),
    "max_steps": Argument(Annotated[int, Range(-1)], "a whole number of at least 0, or -1 for no limit", True),
    "min_steps": Argument(NonNegativeInt | None),
    "max_time": Argument(words="a time as DD:HH:MM:SS"),
    "limit_train_batches": Argument(PositiveInt | Annotated[float, Range(above=0, most=1)] | None, BATCHES, True),
    "limit_val_batches": Argument(NonNegativeInt | UnitInterval | None, BATCHES),
    "limit_test_batches": refused("a run is not tested: use `ostinato evaluate NAME --split test --clips N`"),
    "limit_predict_batches": refused("a run predicts nothing: use `ostinato synthesize NAME`"),
    "overfit_batches": refused("use --overfit_one_clip", in_identity=True),
    "val_check_interval": Argument(
        PositiveInt | Annotated[float, Range(above=0, most=1)], "a number of steps (500) or a share of an epoch (0.5)"
    ),
    "check_val_every_n_epoch": refused(
        "set --trainer.val_check_interval, to steps (500) or to a share of an epoch (0.5)", default=None
    ),
    "num_sanity_val_steps": Argument(Annotated[int, Range(-1)] | None, default=0),
    "log_every_n_steps": Argument(PositiveInt | None),
    "enable_checkpointing": refused("a run always keeps last.ckpt, previous.ckpt and best.ckpt"),
    "enable_progress_bar": Argument(bool | None),
    "enable_model_summary": Argument(bool | None, default=False),
    "accumulate_grad_batches": refused(
        "set --model.accumulate_grad_batches, the number of parts that a batch is divided into"
    ),
    "gradient_clip_val": refused("set --model.gradient_clip, the largest norm of each network's gradient"),
    "gradient_clip_algorithm": refused("set --model.gradient_clip, or override configure_gradient_clipping"),
    "deterministic": Argument(bool | Literal["warn"] | None),
    "benchmark": Argument(bool | None),
    "inference_mode": Argument(bool),
    "use_distributed_sampler": refused("the data module divides the batch over the devices itself", default=False),
    "profiler": refused("use --profile, which prints where the time and memory of some steps go"),
    "detect_anomaly": Argument(bool),
    "barebones": refused("a run has logs and checkpoints: --trainer.enable_progress_bar false leaves out the bar"),
    # Precision and cluster plugins; the run has its own for checkpoints.
    "plugins": Argument(words="the import path of a plugin"),
    "sync_batchnorm": Argument(bool),
    "reload_dataloaders_every_n_epochs": Argument(NonNegativeInt),
    "default_root_dir": refused("set --runs, the folder of all runs"),
    "enable_autolog_hparams": Argument(bool),
    "model_registry": refused("use `ostinato release NAME`, which writes a trained generator to one file"),
}

IN_IDENTITY = tuple(name for name, argument in ARGUMENTS.items() if argument.in_identity)
"""The arguments that can change a result; the rest (devices, cadences, paths) cannot."""

DEFAULTS = {name: argument.default for name, argument in ARGUMENTS.items() if argument.default is not ...}
"""What a run has in the place of Lightning's defaults."""

WITH_CALLBACKS = ("val_check_interval", "limit_val_batches", "min_epochs", "min_steps")
"""The arguments that cannot change a result by themselves, but through a callback that may end the training."""

AUTOMATIC_ONLY = ("gradient_clip_val", "gradient_clip_algorithm", "accumulate_grad_batches")
"""The arguments that no system can be trained with, wherever the Trainer is made."""

NO_RESULT = {
    "BasePredictionWriter", "Checkpoint", "DeviceStatsMonitor", "LearningRateMonitor", "ModelSummary",
    "OnExceptionCheckpoint", "ProgressBar", "ThroughputMonitor", "Timer",
}  # fmt: skip
"""Lightning's callbacks, and what derives from them, that cannot change a result."""


CALLBACKS = {
    "BatchSizeFinder": "it cannot change the batches of a data module: set --data.batch_size",
    "GradientAccumulationScheduler": "set --model.accumulate_grad_batches",
    "StochasticWeightAveraging": "set --model.ema_decay",
    "WeightAveraging": "set --model.ema_decay",
    "ModelPruning": "it replaces parameters that optimisers already hold",
}
"""Lightning's callbacks that no system can be trained with."""

CALLBACKS_OF_RUNS = CALLBACKS | {
    "LearningRateFinder": "compare several values by a sweep over model.learning_rate, or use Lightning's Tuner in "
    "Python: a run that is continued would search again",
}
"""Lightning's callbacks that a run cannot have."""


def settings_in_identity(trainer: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of a Trainer's arguments that can change a result and are set.

    Args:
        trainer: The arguments; callbacks as they stand in a configuration, with `class_path` and `init_args`.
    """
    settings = {name: trainer[name] for name in IN_IDENTITY if trainer.get(name) not in (None, False)}
    callbacks = [callback for callback in listed(trainer.get("callbacks")) if changes_results(callback)]
    if callbacks:
        settings["callbacks"] = callbacks
        settings |= {name: trainer[name] for name in WITH_CALLBACKS if trainer.get(name) is not None}
    plugins = [plugin for plugin in map(described_plugin, listed(trainer.get("plugins"))) if plugin]
    return settings | ({"plugins": plugins} if plugins else {})


def described_plugin(configured: Any) -> Any:
    """Return what stands for a plugin in the identity; None for one that cannot change a result.

    Clusters and checkpoint files leave results as they are; precision and everything unknown may change them.
    """
    configured = {"class_path": configured} if isinstance(configured, str) else configured
    if not isinstance(configured, Mapping):
        cls = type(configured)
        configured = {"class_path": f"{cls.__module__}.{cls.__qualname__}"}
    else:
        cls = _class_of(configured)
    return None if {"ClusterEnvironment", "CheckpointIO"} & {base.__name__ for base in cls.__mro__} else configured


def listed(value: Any) -> list[Any]:
    """Return what Lightning takes as nothing, one or several, as a list."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, (str, Mapping)) else [value]


def lightning_bases(callback: type) -> set[str]:
    """Return the names of Lightning's classes that a callback is or derives from."""
    return {base.__name__ for base in callback.__mro__ if base.__module__.startswith("lightning.")}


def _class_of(configured: Mapping[str, Any]) -> type:
    module, _, name = configured["class_path"].rpartition(".")
    found: type = getattr(import_module(module), name)
    return found


def changes_results(configured: Mapping[str, Any]) -> bool:
    """Return whether a callback, as it stands in a configuration, can change the result of a training."""
    return not lightning_bases(_class_of(configured)) & NO_RESULT


def check_callback(callback: type, known: Mapping[str, str] = CALLBACKS) -> None:
    """Refuse a callback of Lightning's that a system cannot be trained with.

    Raises:
        TypeError: naming it, and what to use instead.
    """
    if found := sorted(lightning_bases(callback) & known.keys()):
        raise InvalidTypeError(f"systems cannot be trained with the callback {found[0]}: {known[found[0]]}")


def check_values(given: Mapping[str, Any]) -> None:
    """Refuse values of arguments that nobody could mean.

    Raises:
        ValueError: naming the argument, its value, and what it may be.
    """
    for name, value in given.items():
        argument = ARGUMENTS.get(name, Argument())
        if not argument.instead and complaint(value, argument.type):
            raise InvalidValueError(f"trainer.{name} = {value}: must be {argument.expected}")
    time = given.get("max_time")
    if isinstance(time, str) and not re.fullmatch(r"\d+:\d\d?:\d\d?:\d\d?", time):
        raise InvalidValueError(f"trainer.max_time = {time}: must be {ARGUMENTS['max_time'].expected}")


def check_arguments(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """Refuse arguments that a run cannot have.

    Args:
        given: Arguments of the Trainer by name.
        defaults: What they are where nobody sets them.

    Raises:
        ValueError, TypeError: naming the argument, its value, and what to use instead.
    """
    for configured in listed(given.get("callbacks")):
        check_callback(_class_of(configured), CALLBACKS_OF_RUNS)
    for name, value in given.items():
        argument = ARGUMENTS.get(name, Argument())
        if argument.instead and value != defaults.get(name):
            raise InvalidValueError(f"trainer.{name} = {value} is not supported: {argument.instead}")
    if given.get("logger") is False:
        raise InvalidValueError("trainer.logger = False is not supported: WANDB_MODE=disabled leaves out W&B")


def check_trainer(trainer: Any) -> None:
    """Refuse a Trainer of Lightning's, however it was made, that cannot train a system.

    Raises:
        ValueError: naming the argument, its value, and what to use instead.
    """
    given = {name: getattr(trainer, name) for name in AUTOMATIC_ONLY}
    check_arguments(given, {"gradient_clip_val": None, "gradient_clip_algorithm": None, "accumulate_grad_batches": 1})


def validation_interval(trainer: Mapping[str, Any], data: Any) -> int:
    """Return the number of steps between two validations.

    Args:
        trainer: The arguments of a Trainer: `val_check_interval` is a number of steps or, as a float up to 1, a share
            of an epoch.
        data: The data module.

    Raises:
        ValueError: the interval is neither.
    """
    value = trainer["val_check_interval"]
    check_values({"val_check_interval": value})
    if isinstance(value, int):
        return value
    return max(1, int(value * _steps_of_epoch(trainer["limit_train_batches"], data)))


def _steps_of_epoch(limit: int | float | None, data: Any) -> int:
    steps: int = data.steps_per_epoch
    if limit is None:
        return steps
    return min(limit, steps) if isinstance(limit, int) else max(1, int(limit * steps))
