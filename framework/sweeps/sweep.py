"""A sweep: experiments x values x seeds, declared as a module-level object beside the experiments.

    table3 = Sweep([Full, WithoutMPD, WithoutMSD], grid={"model.mel_weight": [15, 45]}, seeds=3)

Keys are the command line's names (`model.`, `data.`, `trainer.`). Runs are resolved in `plan`.
"""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from framework.errors import OstinatoError
from framework.hyperparameters import nearest


class SweepError(OstinatoError, ValueError):
    """A sweep is invalid; the message says what to change."""


@dataclass(frozen=True)
class Uniform:
    """A uniform distribution, sampled to four significant digits, or to integers if both limits are integers.

    Args:
        low: Lower limit.
        high: Upper limit.
        log: Sample uniformly in the logarithm.
    """

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise SweepError(f"{self}: low has to be less than high, and above 0 for log")

    def draw(self, source: random.Random) -> float:
        """Return one number."""
        if self.log:
            value = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        else:
            value = source.uniform(self.low, self.high)
        if isinstance(self.low, int) and isinstance(self.high, int):
            return round(value) if self.log else source.randint(self.low, self.high)
        return float(f"{value:.4g}")


@dataclass(frozen=True)
class Choice:
    """One run of a sweep: an experiment, values by their names on the command line, and a seed.

    `seed` is None for the experiment's own, and `seed_offset` is added to that.
    """

    experiment: Any
    values: Mapping[str, Any]
    seed: int | None = None
    seed_offset: int = 0


@dataclass(frozen=True)
class Sweep:
    """Experiments x grid x seeds; two sweeps are added by `+` where one grid does not fit all experiments.

    Args:
        experiments: Classes below `experiments/`.
        grid: Values by name; all combinations are run, or `samples` random ones. A `Uniform` requires `samples`.
        seeds: Number of seeds, beginning with the experiment's, or a list of seeds.
        where: Filter of the combinations, `(experiment, values) -> bool`.
        samples: Number of random combinations for each experiment; None takes all. A larger number begins with the
            same combinations.
        fixed: Values of all runs, which the command line can override.
        also: Further sweeps that belong to this one.

    Raises:
        SweepError: the sweep is empty or invalid.
    """

    experiments: Sequence[Any]
    grid: Mapping[str, Sequence[Any] | Uniform] = field(default_factory=dict)
    seeds: int | Sequence[int] = 1
    where: Callable[[Any, dict[str, Any]], bool] | None = None
    samples: int | None = None
    fixed: Mapping[str, Any] = field(default_factory=dict)
    also: tuple["Sweep", ...] = ()

    def __post_init__(self) -> None:
        for name, values in self.grid.items():
            if isinstance(values, Uniform):
                if self.samples is None:
                    raise SweepError(f"{name} is drawn from {values}: say how often by samples=")
            elif isinstance(values, str) or not isinstance(values, Sequence) or not values:
                raise SweepError(f"the grid's {name} is {values!r}: a list of values is needed, such as [1, 2]")
        if not self.experiments:
            raise SweepError("a sweep needs experiments: Sweep([SomeExperiment, ...])")
        count = self.seeds if isinstance(self.seeds, int) else len(self.seeds)
        for what, number in (("seeds", count), ("samples", self.samples)):
            if number is not None and number < 1:
                raise SweepError(f"a sweep with {what}={number} has no runs: at least 1 is needed")
        for name in {"seed", "--seed"} & {*self.grid, *self.fixed}:
            raise SweepError(f"{name} is given by seeds=, as in seeds=3 or seeds=[1, 2, 3]")

    def __add__(self, other: "Sweep") -> Self:
        return replace(self, also=(*self.also, other))

    @property
    def parts(self) -> list["Sweep"]:
        """The sweep and all that were added to it."""
        return [replace(self, also=()), *(part for sweep in self.also for part in sweep.parts)]

    @property
    def varied(self) -> set[str]:
        """Names of the values in which the runs differ."""
        parts = self.parts
        fixed = {name for part in parts for name in part.fixed} if len(parts) > 1 else set()
        seeds = {"seed"} if any(part.seeds != 1 for part in parts) else set()
        return {name for part in parts for name in part.grid} | fixed | seeds

    def choices(self) -> list[Choice]:
        """Return all runs; the first seed of everything first, so that a sweep cut short can be compared too."""
        made = [choice for part in self.parts for choice in part._choices()]
        order = {id(choice): index for index, choice in enumerate(made)}
        turns: dict[tuple[Any, str], int] = {}
        turn = {}
        for choice in made:
            key = (choice.experiment, json.dumps(dict(choice.values), sort_keys=True, default=str))
            turn[id(choice)] = turns[key] = turns.get(key, -1) + 1
        return sorted(made, key=lambda choice: (turn[id(choice)], order[id(choice)]))

    def _choices(self) -> Iterator[Choice]:
        found = False
        for experiment in self.experiments:
            for values in self._combinations(experiment):
                if self.where is not None and not self._wanted(experiment, values):
                    continue
                found = True
                for index in range(self.seeds) if isinstance(self.seeds, int) else self.seeds:
                    seed = {"seed_offset": index} if isinstance(self.seeds, int) else {"seed": index}
                    yield Choice(experiment, {**self.fixed, **values}, **seed)
        if not found:
            raise SweepError("the sweep's where= leaves no run")

    def _combinations(self, experiment: Any) -> Iterator[dict[str, Any]]:
        if self.samples is None:
            for combination in itertools.product(*self.grid.values()):  # type: ignore[arg-type]
                yield dict(zip(self.grid, combination, strict=True))
            return
        source, seen = random.Random(0), set()
        for _ in range(1000 * self.samples):
            drawn = {
                name: values.draw(source) if isinstance(values, Uniform) else source.choice(values)
                for name, values in self.grid.items()
            }
            text = repr(drawn)
            if text not in seen and (self.where is None or self._wanted(experiment, drawn)):
                yield drawn
                seen.add(text)
            if len(seen) == self.samples:
                return

    def _wanted(self, experiment: Any, values: dict[str, Any]) -> bool:
        assert self.where is not None
        try:
            return bool(self.where(experiment, values))
        except KeyError as error:
            raise SweepError(f"where= asks for {error}: {nearest(error.args[0], self.grid)}") from None


def argument(name: str, value: Any) -> str:
    """Return a value as an argument of the command line: `--model.kernels=[3, 7]`.

    Raises:
        SweepError: for what no command line can say.
    """
    try:
        return f"--{name}={value if isinstance(value, str) else json.dumps(value)}"
    except TypeError:
        raise SweepError(f"{name} = {value!r} cannot be said on a command line: make it an experiment") from None
