"""Which classes make a system what it is: combined overrides are told apart, and values do not count."""

import copy
import dataclasses
import functools
import itertools
import re
import threading
from pathlib import Path
from typing import ClassVar

import lightning as L
import numpy as np
import pytest
import torch

from framework.ancestry import path_of
from framework.errors import InvalidTypeError
from framework.hyperparameters import Hyperparameters
from framework.runs.identity import class_of, is_code_of, structure_of, system_of


class Base(Hyperparameters, L.LightningModule):
    not_in_identity: ClassVar = ("title",)
    title: ClassVar[str] = "base"
    scale: ClassVar[int] = 1
    width: int = 4

    def generator(self):
        return "generator"

    def losses(self):
        return ["mel"]


class WithoutLosses(Base):
    def losses(self):
        return []


class WithGenerator(Base):
    def generator(self):
        return "other"


class Wide(Base):
    width = 8


class Both(WithoutLosses, WithGenerator):
    pass


class Swapped(WithGenerator, WithoutLosses):
    pass


class WideBoth(Wide, Both):
    """Values above and below overrides."""


class Whisper:
    """A class of one's own that knows nothing of hyperparameters."""

    def losses(self):
        return ["whisper", *super().losses()]


class Whispering(Whisper, Base):
    pass


class WhisperingBoth(Whisper, Both):
    pass


class Scaled(WithoutLosses):
    scale: ClassVar[int] = 2


class Titled(WithoutLosses):
    title: ClassVar[str] = "another"


def shout(self, how="loud"):
    return how


class Functional(Base):
    losses = shout


class Partial(Base):
    losses = functools.partialmethod(shout, "louder")


class Lambda(Base):
    losses = lambda self: ["lambda"]  # noqa: E731


class Property(Base):
    losses = property(shout)


class Joined(WithoutLosses, WithGenerator):
    """Combines two and overrides a method of its own: a chain again, whose last class names all of it."""

    def losses(self):
        return [*super().losses(), "joined"]


SYSTEMS = [
    Base, WithoutLosses, WithGenerator, Both, Swapped, Whispering, WhisperingBoth, Scaled, Functional, Partial, Lambda,
    Property, Joined,
]  # fmt: skip


def test_every_combination_is_a_system_of_its_own():
    for one, other in itertools.combinations(SYSTEMS, 2):
        assert structure_of(one) != structure_of(other), (one, other)


@pytest.mark.parametrize("cls", SYSTEMS)
def test_values_and_names_make_no_other_system(cls):
    below = type("Below", (cls,), {"__module__": __name__, "__doc__": "Another name.", "width": 9})
    assert structure_of(cls.variant(width=5).variant()) == structure_of(below) == structure_of(cls)
    assert structure_of(type("Wider", (Wide, cls), {"__module__": __name__})) == structure_of(cls)


def test_a_chain_is_named_by_its_last_class_and_a_combination_by_all():
    assert structure_of(WideBoth) == structure_of(Both) == [f"{__name__}:WithoutLosses", f"{__name__}:WithGenerator"]
    assert structure_of(Joined) == [f"{__name__}:Joined"]
    assert structure_of(Titled) == structure_of(WithoutLosses), "how results are presented is not what they are"
    assert Both.changes() == {"generator()": (None, "overridden")}


class Left(WithoutLosses):
    def left(self):
        return 1


class Right(WithGenerator):
    def right(self):
        return 1


class Reversed(Swapped):
    """Sets nothing, and lets `WithGenerator` come before `WithoutLosses`."""


class Plain(Left, Right):
    pass


class Rearranged(Left, Right, Reversed):
    pass


def test_a_class_without_overrides_that_changes_the_order_of_methods_is_noticed():
    assert structure_of(Plain) == [f"{__name__}:Left", f"{__name__}:Right"]
    assert structure_of(Rearranged) == [
        f"{__name__}:{name}" for name in ("Left", "Right", "WithGenerator", "WithoutLosses", "Base")
    ]


def made(gain):
    class Made(Base):
        def losses(self):
            return [gain]

    return Made


def test_classes_that_share_a_name_are_told_apart_by_their_code():
    assert path_of(made(1)) == path_of(made(1))
    assert len({path_of(made(1)), path_of(made(2)), path_of(made("1"))}) == 3
    assert path_of(Base.variant(losses=lambda self: 1)) != path_of(Base.variant(losses=lambda self: 2))


@dataclasses.dataclass(frozen=True)
class Settings:
    width: int = 1


class Slotted:
    __slots__ = ("width",)

    def __init__(self, width):
        self.width = width


@pytest.mark.parametrize(
    "values",
    [
        (torch.nn.L1Loss(), torch.nn.L1Loss(reduction="sum")),
        (torch.nn.Linear(2, 2, dtype=torch.bfloat16), torch.nn.Linear(2, 2, dtype=torch.bfloat16)),
        (torch.tensor(1.0), torch.tensor(2.0), torch.tensor(1.0, dtype=torch.float64), torch.ones(1)),
        (np.ones(2), np.zeros(2)),
        (Settings(1), Settings(2)),
        (Slotted(1), Slotted(2)),
        (Path("a"), Path("b")),
        (range(3), range(4)),
        (functools.partial(max, 1), functools.partial(max, 2)),
        ([Settings(1)], [Settings(2)]),
        ({Settings(1)}, {Settings(2)}),
        (re.compile("a"), re.compile("b")),
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_values_that_a_class_of_a_function_uses_tell_it_apart(values):
    names = [path_of(made(value)) for value in values]
    assert len(set(names)) == len(values)
    assert names == [path_of(made(copy.deepcopy(value))) for value in values]


def test_a_class_that_cannot_be_told_apart_is_refused():
    with pytest.raises(InvalidTypeError, match=r"Made cannot be told .*lock.*define the class at the top"):
        path_of(made(threading.Lock()))


def test_a_stored_identity_is_found_in_the_code_again():
    stored = {"system": f"{__name__}:WithoutLosses"}
    combined = stored | {"version": 2, "combined": {"system": structure_of(Both)}}
    assert (is_code_of(WithoutLosses, combined), is_code_of(Both, combined)) == (False, True)
    assert structure_of(system_of(__name__, combined)) == structure_of(Both)
    assert system_of(__name__, stored) is WithoutLosses
    # Before there were versions, a combination was stored as its first class.
    assert is_code_of(Both, stored)
    assert class_of([Both, WithoutLosses], stored) is WithoutLosses
    assert class_of([Base, Both], stored) is Both
    assert class_of([WithoutLosses, Base], combined) is None
    with pytest.raises(AttributeError, match="no class that combines a:B and c:D"):
        system_of(__name__, {"system": "a:B", "version": 2, "combined": {"system": ["a:B", "c:D"]}})
