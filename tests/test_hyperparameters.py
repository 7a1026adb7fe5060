"""The hyperparameter mechanism: what a class says is what is checked, resolved, documented and told apart."""

import inspect
from typing import ClassVar, Literal

import lightning as L
import pytest

from framework.annotations import Decay, NonEmpty, PositiveInt
from framework.hyperparameters import HyperparameterError, Hyperparameters, added, runtime, stored_values, trainer


class Base(Hyperparameters, L.LightningModule):
    """A system.

    Args:
        channels: Width of the first layer.
        rates: Upsampling rates.
    """

    channels: PositiveInt = 512
    rates: NonEmpty[PositiveInt] = (8, 8)
    decay: Decay | None = None
    mode: Literal["a", "b"] = "a"
    workers: int = runtime(0)
    max_steps: int = trainer(10)
    constant: ClassVar[int] = 7

    def forward(self):
        return self.channels


class Small(Base):
    channels = 4


class Decayed(Base):
    decay = 0.5


class Both(Decayed, Small):
    """A diamond: dataclass inheritance would take Base's channels."""


def test_values_resolve_in_method_resolution_order():
    both = Both()
    assert (both.channels, both.decay, both.rates) == (4, 0.5, (8, 8))
    assert Both.origin("channels") is Small
    assert Both.origin("rates") is Base


class Narrow:
    channels = 8


class MixedIn(Narrow, Base):
    pass


def test_an_ordinary_mixin_overrides_values():
    assert (MixedIn.hyperparameters["channels"].default, MixedIn().channels, Base().channels) == (8, 8, 512)
    assert MixedIn.origin("channels") is Narrow
    assert MixedIn.changes() == {"channels": (512, 8)}
    with pytest.raises(HyperparameterError, match="channels = 0"):
        type("Wrong", (type("Empty", (), {"channels": 0}), Base), {"__module__": __name__})


def test_a_constructor_of_ones_own_is_refused():
    with pytest.raises(HyperparameterError, match=r"defines __init__, .*build parts in `build`"):

        class Own(Base):
            def __init__(self):
                super().__init__()


def test_signature_is_true_and_hyperparameters_are_saved_plain():
    assert list(inspect.signature(Small).parameters) == ["channels", "rates", "decay", "mode", "workers"]
    assert dict(Small(channels=3).hparams) == {"channels": 3, "rates": (8, 8), "decay": None, "mode": "a", "workers": 0}
    with pytest.raises(TypeError, match="unexpected keyword"):
        Small(chanels=3)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"channel": 3}, "sets channel: did you mean channels?"),
        ({"channels": 3.5}, r"Wrong.channels = 3.5: must be a whole number of at least 1 \(test_hyperparameters\)"),
        ({"channels": True}, "channels = True: must be a whole number"),
        ({"channels": 0}, "channels = 0: must be at least 1"),
        ({"rates": (8, "8")}, "must be a sequence of whole numbers of at least 1"),
        ({"rates": (8, -8)}, r"rates = \(8, -8\): each must be at least 1"),
        ({"rates": ()}, "must have at least 1 item"),
        ({"rates": [8, 8]}, "is mutable"),
        ({"mode": "c"}, "mode = 'c': must be one of a, b"),
        ({"decay": 1.0}, "decay = 1.0: must be at least 0 and below 1"),
        ({"decay": float("nan")}, "decay = nan: must be a finite number"),
    ],
)
def test_a_wrong_class_does_not_come_into_being(body, message):
    with pytest.raises(HyperparameterError, match=message):
        type("Wrong", (Base,), {"__module__": __name__, **body})


def test_wrong_values_are_refused_when_given():
    with pytest.raises(HyperparameterError, match="decay = 'x': must be a number of at least 0 and below 1 or null"):
        Base(decay="x")
    assert Base(rates=[2, 2]).rates == (2, 2), "YAML has no tuples"


def test_changes_list_values_and_overridden_methods():
    class Changed(Base):
        channels = 4

        def forward(self):
            return 0

    assert Changed.changes() == {"channels": (512, 4), "forward()": (None, "overridden")}
    assert Base.variant(channels=9).changes() == {"channels": (512, 9)}
    assert Changed.system() is Changed
    assert Small.system() is Base


def test_resolved_leaves_out_what_cannot_change_the_result():
    class Later(Base):
        dropout: float = added(0.0)

    assert "workers" not in Base(workers=3).resolved()
    assert Later().resolved() == Base().resolved(), "a hyperparameter added later orphans no run at its default"
    assert Later(dropout=0.1).resolved()["dropout"] == 0.1


def test_a_value_that_a_run_did_not_store_is_the_one_it_had_implicitly():
    class Later(Base):
        dropout: float = added(0.0)

    class Small(Later):
        channels = 4
        dropout = 0.3

    assert stored_values(Small, {"channels": 9}) == {"channels": 9, "dropout": 0.0}
    assert stored_values(Small, {"dropout": 0.2}) == {"dropout": 0.2}
    assert Small.variant(**stored_values(Small, {"channels": 4}))().resolved() == Base(channels=4).resolved()


def test_documentation_is_inherited():
    assert Small.documentation()["channels"] == "Width of the first layer."
    assert "rates: Upsampling rates (each at least 1)." in Small.__init__.__doc__
