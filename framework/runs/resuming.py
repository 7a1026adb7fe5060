"""Starting a run from the checkpoint of another: training it further, or on other data."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from framework.errors import InvalidValueError
from framework.runs.folder import RunError
from framework.runs.loop_state import at_epoch_start
from framework.strategies import is_main_process


def started_from(
    checkpoint: Mapping[str, Any], path: str | Path, data: Any, limits: Mapping[str, Any]
) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return the function that converts the checkpoint of another run into one that a new run starts from.

    On the same data in the same order, the new run continues at the checkpoint's position. Otherwise it begins a new
    epoch of its own data, with the weights and optimiser states of the checkpoint.

    Args:
        checkpoint: The other run's.
        path: Where it was read, for messages.
        data: The new run's data module.
        limits: `max_steps` and `max_epochs` of the new run.

    Raises:
        RunError: the checkpoint has as many steps or epochs as the new run is to have.
    """
    epoch = at_epoch_start(checkpoint)["loops"]["fit_loop"]["epoch_progress"]["current"]["completed"]
    for name, done in (("max_steps", checkpoint["global_step"]), ("max_epochs", epoch)):
        limit = limits.get(name)
        if limit is not None and 0 <= limit <= done:
            raise RunError(
                f"{path} has made {done} {name.removeprefix('max_')} and trainer.{name} is {limit}: set "
                f"trainer.{name} to more than {done} to train it further"
            )
    if reason := other_order(checkpoint, data):
        if is_main_process():
            print(f"weights and optimisers of {path} are used from the beginning of an epoch ({reason})")
        return lambda read: of_another_run(at_epoch_start(read))
    return of_another_run


def other_order(checkpoint: Mapping[str, Any], data: Any) -> str:
    """Return the reason why training cannot continue at a checkpoint's position in the data; empty if it can."""
    name = type(data).__qualname__
    if name not in checkpoint:
        return f"it was not trained on {name}"
    try:
        data.load_state_dict(checkpoint[name])
    except InvalidValueError as error:
        return str(error)
    return ""


def of_this_run(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint without the elapsed time of Lightning's Timer, which starts anew in each session."""
    states = checkpoint.get("callbacks", {})
    return {**checkpoint, "callbacks": {name: state for name, state in states.items() if "time_elapsed" not in state}}


def of_another_run(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint without the other run's best value and stopping-rule state."""
    states = of_this_run(checkpoint)["callbacks"]
    kept = {n: state for n, state in states.items() if n != "Checkpoints" and not state.get("stopping_reason")}
    return {**checkpoint, "callbacks": kept}
