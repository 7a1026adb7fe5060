"""Systems and data modules are pickled and copied as other modules of PyTorch are."""

import copy
import pickle

import pytest
import torch
from tiny_system import Tiny

from datamodules.audio_folder import AudioFolder
from datamodules.bach_chorales import BachChorales
from framework.catalogue import find


def same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(value, theirs[name]) for name, value in ours.items())


ON_RECORDINGS = Tiny.variant(data=AudioFolder.variant(path="x"))


@pytest.mark.parametrize("cls", [Tiny, Tiny.variant(mel_weight=3.0), ON_RECORDINGS])
def test_a_system_is_pickled_with_its_weights(cls):
    system = cls(learning_rate=1e-3).eval()
    with torch.no_grad():
        system.generator.conv_pre.bias.add_(1)
    found = pickle.loads(pickle.dumps(system))
    assert same(found, system)
    assert (found.learning_rate, found.mel_weight, found.training) == (1e-3, system.mel_weight, False)
    assert type(found).structure() == cls.structure()
    if cls is ON_RECORDINGS:
        assert type(found).data.hyperparameters["path"].default == "x"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_has_the_same_class(copied):
    cls = Tiny.variant(mel_weight=3.0)
    system = cls()
    made = copied(system)
    assert type(made) is cls
    assert same(made, system)
    shares = made.generator.conv_pre.bias is system.generator.conv_pre.bias
    assert shares == (copied is copy.copy)


@pytest.mark.parametrize(
    "data", [BachChorales(pieces=3), find("hifigan_bach").data(batch_size=5), AudioFolder(path="x")]
)
def test_a_data_module_is_pickled_and_copied(data):
    for made in (pickle.loads(pickle.dumps(data)), copy.deepcopy(data)):
        assert dict(made.hparams) == dict(data.hparams)
        assert type(made).system() is type(data).system()
        assert made.resolved() == data.resolved()


def test_a_data_module_and_a_system_can_be_printed():
    assert str(AudioFolder(path="x", batch_size=5)).startswith("AudioFolder(")
    assert "path='x'" in str(AudioFolder(path="x"))
    assert "(generator): HiFiGANGenerator(" in str(Tiny())


def test_a_class_with_methods_that_no_name_leads_to_is_named():
    cls = Tiny.variant(condition=lambda self, batch: batch["audio"])
    with pytest.raises(pickle.PicklingError, match="Tiny has methods of its own: define it in a module"):
        pickle.dumps(cls())


def test_lightning_loads_a_checkpoint(tmp_path):
    import lightning as L

    system = Tiny(learning_rate=1e-3)
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_model_summary=False)
    trainer.strategy.connect(system)
    trainer.save_checkpoint(tmp_path / "tiny.ckpt", weights_only=True)
    found = Tiny.load_from_checkpoint(tmp_path / "tiny.ckpt")
    assert same(found, system)
    assert found.learning_rate == 1e-3
