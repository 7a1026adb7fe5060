"""Every number that an experiment can be given has a range, or a reason to have none."""

import math
import typing

import pytest

from framework.annotations import range_of, without_ranges
from framework.catalogue import describe_module, find, modules
from framework.hyperparameters import HyperparameterError

OF_ANY_SIGN = {
    "mean": "the mean of log-mels may have any sign",
    "mel_mean": "the mean of log-mels may have any sign",
    "loudness_mean": "the mean of loudness in dB may have any sign",
}
"""Hyperparameters that may be any finite number, with the reason."""


def numeric():
    """Yield every numeric hyperparameter of all experiments and their data once: class, name, hyperparameter."""
    seen = set()
    for experiment in (find(entry.name) for module in modules().values() for entry in describe_module(module)):
        for cls in (experiment, experiment.data):
            for name, parameter in cls.hyperparameters.items():
                if {int, float} & set(flat(without_ranges(parameter.annotation))):
                    origin = next(b for b in cls.__mro__ if name in vars(b).get("__annotations__", {}))
                    if (origin, name) not in seen:
                        seen.add((origin, name))
                        yield cls, name, parameter


def flat(annotation):
    arguments = typing.get_args(annotation)
    return [kind for argument in arguments for kind in flat(argument)] if arguments else [annotation]


def test_every_number_has_a_range():
    found = {(cls.__name__, name): parameter for cls, name, parameter in numeric()}
    assert len(found) > 100
    without = {name for (_, name), parameter in found.items() if not range_of(parameter.annotation)}
    literal = {name for (_, name), p in found.items() if typing.get_origin(p.annotation) is typing.Literal}
    assert without - literal == OF_ANY_SIGN.keys()


def test_a_value_out_of_range_makes_no_class():
    for cls, name, parameter in numeric():
        for bad in (math.nan, math.inf, -math.inf, True, "x", "", [], -(10**6), {}):
            value = (bad,) if typing.get_origin(without_ranges(parameter.annotation)) is tuple else bad
            if name in OF_ANY_SIGN and bad == -(10**6):
                continue
            with pytest.raises(HyperparameterError) as raised:
                cls.variant(**{name: value})
            assert "\n" not in str(raised.value)
            assert f".{name} = " in str(raised.value)
