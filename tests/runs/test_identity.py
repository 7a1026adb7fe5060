"""A run's identity: equal exactly when the results must be."""

import lightning as L
import pytest

from framework.hyperparameters import Hyperparameters, runtime
from framework.runs.identity import canonical, family, identity, signature


class Model(Hyperparameters, L.LightningModule):
    weight: float = 0.0
    rates: tuple[int, ...] = (8, 8)

    def forward(self):
        return self.weight


class Data(Hyperparameters, L.LightningDataModule):
    batch_size: int = 16
    workers: int = runtime(0)
    manifest: str = runtime("abc")

    def fingerprint(self):
        return self.manifest


def sign(model=Model, data=Data, trainer=None, seed=0, **values):
    return signature(identity(model(**values), data(), trainer or {"max_steps": 10, "devices": 1}, seed))


def test_equal_values_are_one_run_whatever_their_class_is_called():
    renamed = type("Renamed", (Model,), {"__module__": __name__, "weight": 3.0})
    assert sign(renamed) == sign(weight=3) == sign(Model.variant(weight=3.0))
    assert sign(rates=[8, 8]) == sign(rates=(8, 8))


def test_what_changes_the_result_changes_the_identity():
    class Overridden(Model):
        def forward(self):
            return 1.0

    others = [
        sign(weight=0.5),
        sign(Overridden),
        sign(data=Data.variant(batch_size=8)),
        sign(data=Data.variant(manifest="other recordings")),
        sign(trainer={"max_steps": 20}),
        sign(seed=1),
    ]
    assert len({sign(), *others}) == len(others) + 1


def test_what_cannot_change_the_result_does_not():
    assert (
        sign() == sign(data=Data.variant(workers=4)) == sign(trainer={"max_steps": 10, "devices": 8, "strategy": "ddp"})
    )


def test_seeds_of_one_family():
    runs = [identity(Model(), Data(), {"max_steps": 10}, seed) for seed in (0, 1)]
    assert family(runs[0]) == family(runs[1])
    assert family(runs[0]) != family(identity(Model(weight=1.0), Data(), {"max_steps": 10}, 0))


def test_only_plain_values_have_a_canonical_form():
    assert canonical({"b": 1.0, "a": (2, [True])}) == {"a": [2, [True]], "b": 1}
    with pytest.raises(TypeError, match="cannot hold object"):
        canonical(object())
