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


class Other(Model):
    def forward(self):
        return 2.0


class Mixed(Data):
    def fingerprint(self):
        return "mixed"


class Counted:
    def counted(self):
        return 1


class Combined(Other, Counted):
    pass


class CombinedData(Mixed, Counted):
    pass


def test_combined_overrides_are_a_run_of_their_own():
    assert len({sign(), sign(Other), sign(Combined), sign(data=Mixed), sign(data=CombinedData)}) == 5
    assert sign(Combined, weight=2.0) == sign(type("Heavy", (Combined,), {"__module__": __name__, "weight": 2}))
    found = identity(Combined(), CombinedData(), {}, 0)
    assert found["system"] == f"{__name__}:Other"
    assert (found["version"], found["combined"]) == (2, {
        "system": [f"{__name__}:Other", f"{__name__}:Counted"], "data": [f"{__name__}:Mixed", f"{__name__}:Counted"],
    })  # fmt: skip


def test_runs_from_before_there_were_versions_keep_their_identity():
    before = {
        "system": f"{__name__}:Other",
        "model": {"weight": 0, "rates": [8, 8]},
        "data": {"class": f"{__name__}:Mixed", "manifest": "mixed", "batch_size": 16},
        "trainer": {"max_steps": 10},
        "seed": 0,
    }
    values_only = type("ValuesOnly", (Other,), {"__module__": __name__, "weight": 0.0})
    assert identity(values_only(), Mixed.variant(workers=2)(), {"max_steps": 10}, 0) == before
    assert signature(before) == sign(Other, Mixed)


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
