"""What `ostinato fit` does with each argument of Lightning's Trainer: one table, on which everything else stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from framework.errors import InvalidTypeError, InvalidValueError


@dataclass(frozen=True)
class Argument:
    """An argument of Lightning's Trainer.

    Args:
        in_identity: Whether it can change a result, so that its value is part of a run's identity.
        instead: What to use in its place, where it is refused.
        default: Its value in a run, where that is not Lightning's default.
    """

    in_identity: bool = False
    instead: str = ""
    default: Any = ...


SUPPORTED, RESULT = Argument(), Argument(in_identity=True)
"""Passed on to Lightning; the second kind is part of a run's identity."""


def refused(instead: str, default: Any = ...) -> Argument:
    """Return an argument that may have its default alone."""
    return Argument(instead=instead, default=default)


ARGUMENTS: Mapping[str, Argument] = {
    "accelerator": SUPPORTED,
    "strategy": SUPPORTED,
    "devices": SUPPORTED,
    "num_nodes": SUPPORTED,
    "precision": RESULT,
    # Other loggers are used beside the run's own.
    "logger": SUPPORTED,
    # Those that can change a result are part of the identity (see `callbacks_in_identity`).
    "callbacks": SUPPORTED,
    "fast_dev_run": Argument(True, "`ostinato doctor NAME` takes a few real steps, --trainer.max_steps more of them"),
    "max_epochs": RESULT,
    "min_epochs": SUPPORTED,
    "max_steps": RESULT,
    "min_steps": SUPPORTED,
    "max_time": SUPPORTED,
    "limit_train_batches": RESULT,
    "limit_val_batches": SUPPORTED,
    "limit_test_batches": refused("a run is not tested: use `ostinato evaluate NAME --split test --clips N`"),
    "limit_predict_batches": refused("a run predicts nothing: use `ostinato synthesize NAME`"),
    "overfit_batches": Argument(True, "use --overfit_one_clip"),
    "val_check_interval": SUPPORTED,
    "check_val_every_n_epoch": refused(
        "set --trainer.val_check_interval, to steps (500) or to a share of an epoch (0.5)", default=None
    ),
    "num_sanity_val_steps": Argument(default=0),
    "log_every_n_steps": SUPPORTED,
    "enable_checkpointing": refused("a run always keeps last.ckpt, previous.ckpt and best.ckpt"),
    "enable_progress_bar": SUPPORTED,
    "enable_model_summary": Argument(default=False),
    "accumulate_grad_batches": refused("set --model.accumulate, the number of parts that a batch is divided into"),
    "gradient_clip_val": refused("set --model.gradient_clip, the largest norm of each network's gradient"),
    "gradient_clip_algorithm": refused("set --model.gradient_clip, or override configure_gradient_clipping"),
    "deterministic": SUPPORTED,
    "benchmark": SUPPORTED,
    "inference_mode": SUPPORTED,
    "use_distributed_sampler": refused("the data module divides the batch over the devices itself", default=False),
    "profiler": refused("use --profile, which prints where the time and memory of some steps go"),
    "detect_anomaly": SUPPORTED,
    "barebones": refused("a run has logs and checkpoints: --trainer.enable_progress_bar false leaves out the bar"),
    # Precision and cluster plugins; the run has its own for checkpoints.
    "plugins": SUPPORTED,
    "sync_batchnorm": SUPPORTED,
    "reload_dataloaders_every_n_epochs": SUPPORTED,
    "default_root_dir": refused("set --runs, the folder of all runs"),
    "enable_autolog_hparams": SUPPORTED,
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
    "GradientAccumulationScheduler": "set --model.accumulate",
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
    callbacks = [callback for callback in listed(trainer.get("callbacks")) if _changes_results(callback)]
    if callbacks:
        settings["callbacks"] = callbacks
        settings |= {name: trainer[name] for name in WITH_CALLBACKS if trainer.get(name) is not None}
    return settings


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


def _changes_results(configured: Mapping[str, Any]) -> bool:
    return not lightning_bases(_class_of(configured)) & NO_RESULT


def check_callback(callback: type, known: Mapping[str, str] = CALLBACKS) -> None:
    """Refuse a callback of Lightning's that a system cannot be trained with.

    Raises:
        TypeError: naming it, and what to use instead.
    """
    if found := sorted(lightning_bases(callback) & known.keys()):
        raise InvalidTypeError(f"systems cannot be trained with the callback {found[0]}: {known[found[0]]}")


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
        argument = ARGUMENTS.get(name, SUPPORTED)
        if argument.instead and value != defaults.get(name):
            raise InvalidValueError(f"trainer.{name} = {value!r} is not supported: {argument.instead}")
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
        data: The data module, whose `plan` has the number of `steps` of an epoch.

    Raises:
        ValueError, TypeError: the interval is neither.
    """
    value = trainer["val_check_interval"]
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidTypeError(
            f"trainer.val_check_interval = {value!r}: set a number of steps (500) or a share of an epoch (0.5)"
        )
    if isinstance(value, float) and not 0 < value <= 1:
        raise InvalidValueError(f"trainer.val_check_interval = {value}: a share of an epoch is above 0 and at most 1")
    if value < 1 and isinstance(value, int):
        raise InvalidValueError(f"trainer.val_check_interval = {value}: must be at least 1 step")
    if isinstance(value, int):
        return value
    return max(1, int(value * _steps_of_epoch(trainer["limit_train_batches"], data)))


def _steps_of_epoch(limit: int | float | None, data: Any) -> int:
    steps: int = data.plan.steps
    if limit is None:
        return steps
    return min(limit, steps) if isinstance(limit, int) else max(1, int(limit * steps))
