"""W&B's sweep files: read as a sweep, and written for `wandb sweep` and its agents."""

import contextlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from framework.catalogue import find, name_of
from framework.hyperparameters import nearest
from framework.json_text import check_kinds
from framework.runs.stored_commands import refuse_commands
from framework.sweeps.sweep import Sweep, SweepError, Uniform
from framework.writing import write_atomically
from framework.yaml_text import parse_yaml

KEYS = {"program", "command", "method", "metric", "parameters", "name", "description", "project", "entity", "run_cap"}
PARAMETER_KEYS = {"value", "values", "min", "max", "distribution", "parameters"}
DISTRIBUTIONS = {"constant", "categorical", "uniform", "int_uniform", "log_uniform_values"}

_EXPONENT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


def read(path: Path) -> Sweep:
    """Return the sweep that a file of W&B describes; parameters are the command line's names.

    The experiment is the word behind `fit` in `command`, or the parameter `experiment`.

    Raises:
        SweepError: the file has settings that are not supported; the message names them.
    """
    try:
        content = parse_yaml(path.read_text())
    except (OSError, ValueError) as error:
        raise SweepError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict) or not isinstance(content.get("parameters"), dict):
        raise SweepError(f"{path} is no sweep of W&B: it has no parameters")
    if unknown := {str(key) for key in content} - KEYS:
        raise SweepError(f"{path}: {min(unknown)} is not known here: {nearest(min(unknown), KEYS)}")
    method = content.get("method", "grid")
    if method not in ("grid", "random"):
        raise SweepError(f"{path}: method {method} needs W&B's server (`wandb agent`): grid and random run here")
    if method == "random" and not content.get("run_cap"):
        raise SweepError(f"{path}: say how many random runs by run_cap")
    try:
        check_kinds(content, {"run_cap?": (int, None), "command?": ([Any], None), "parameters": {str: Any}})
        values = dict(_flat(content["parameters"]))
        refuse_commands(values, path)
        experiments = values.pop("experiment", None) or [_experiment_of(content.get("command") or [])]
        seeds = values.pop("seed", 1)
        if isinstance(seeds, Uniform) or isinstance(experiments, Uniform):
            raise SweepError("experiment and seed are lists of values")
        grid = {name: value for name, value in values.items() if isinstance(value, Uniform) or len(value) > 1}
        fixed = {name: value[0] for name, value in values.items() if name not in grid}
        found = [find(str(name)) for name in experiments]
        samples = content["run_cap"] if method == "random" else None
        return Sweep(found, grid=grid, seeds=seeds, samples=samples, fixed=fixed)
    except ValueError as error:
        raise SweepError(f"{path}: {error}") from None


def _experiment_of(command: list[Any]) -> str:
    words = [str(word) for word in command]
    if "fit" in words[:-1]:
        return words[words.index("fit") + 1]
    raise SweepError("no experiment: name it behind fit in command, or by the parameter experiment")


def _flat(parameters: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, says in parameters.items():
        if not isinstance(says, Mapping):
            raise SweepError(f"{prefix}{name} needs value, values, or min and max")
        if unknown := {str(key) for key in says} - PARAMETER_KEYS:
            raise SweepError(
                f"{prefix}{name}: {min(unknown)} is not known here: {nearest(min(unknown), PARAMETER_KEYS)}"
            )
        if "parameters" in says:
            yield from _flat(says["parameters"], f"{prefix}{name}.")
        else:
            yield prefix + name, _values(prefix + name, says)


def _values(name: str, says: Mapping[str, Any]) -> Any:
    distribution = says.get("distribution", "categorical")
    if distribution not in DISTRIBUTIONS:
        raise SweepError(
            f"{name}: distribution {distribution} is not known here: {nearest(distribution, DISTRIBUTIONS)}"
        )
    if "value" in says:
        return [_read(says["value"])]
    if "values" in says:
        if not isinstance(says["values"], list):
            raise SweepError(f"{name}: values is a list, not {says['values']!r:.40}")
        return [_read(value) for value in says["values"]]
    if "min" not in says or "max" not in says:
        raise SweepError(f"{name} needs value, values, or min and max")
    low, high = _limit(name, says["min"]), _limit(name, says["max"])
    if distribution == "uniform":
        low, high = float(low), float(high)
    return Uniform(low, high, log=distribution == "log_uniform_values")


def _limit(name: str, said: Any) -> float:
    value = _read(said)
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise SweepError(f"{name}: min and max have to be numbers, not {said!r}")
    return value


def _read(value: Any) -> Any:
    """Convert numbers that PyYAML reads as strings, such as `1e-5`, which has no point."""
    if isinstance(value, list):
        return [_read(item) for item in value]
    return float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value


def write(path: Path, name: str, sweep: Sweep) -> None:
    """Write a sweep for `wandb sweep FILE`; each agent trains by `ostinato fit`.

    Raises:
        SweepError: the sweep cannot be expressed in W&B's format.
    """
    if sweep.where is not None or sweep.also:
        raise SweepError(f"{name}: W&B's sweeps know neither where= nor added sweeps: leave them out, or sweep here")
    parameters: dict[str, Any] = {key: {"value": _plain(value)} for key, value in sweep.fixed.items()}
    for key, values in sweep.grid.items():
        if isinstance(values, Uniform):
            whole = isinstance(values.low, int) and isinstance(values.high, int)
            kind = "log_uniform_values" if values.log else "int_uniform" if whole else "uniform"
            parameters[key] = {"distribution": kind, "min": values.low, "max": values.high}
        else:
            parameters[key] = {"values": [_plain(value) for value in values]}
    first = sweep.experiments[0]
    seeds = range(first.seed, first.seed + sweep.seeds) if isinstance(sweep.seeds, int) else sweep.seeds
    parameters |= {"seed": {"values": list(seeds)}}
    names = [name_of(experiment) for experiment in sweep.experiments]
    if len(names) > 1:
        parameters["experiment"] = {"values": names}
    cap = {} if sweep.samples is None else {"run_cap": sweep.samples * len(names) * len(seeds)}
    content = {
        "name": name,
        "project": "ostinato",
        "method": "grid" if sweep.samples is None else "random",
        "metric": {"name": first.monitor, "goal": "minimize"},
        "command": ["${env}", "ostinato", "fit", *(names if len(names) == 1 else []), "${args}"],
        "parameters": parameters,
        **cap,
    }
    write_atomically(path, yaml.safe_dump(content, sort_keys=False))


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
