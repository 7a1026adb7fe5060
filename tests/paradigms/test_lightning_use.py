"""Systems in plain Lightning: any data loader, Lightning's own callbacks, validate, test and predict."""

import re
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from tiny_system import Alone, Tiny, make
from torch.utils.data import DataLoader

from framework.audio.distances import log_mel_error, stft_distance
from framework.audio.mel import preset
from framework.errors import OstinatoError
from framework.generators.griffin_lim import GriffinLimVocoder
from framework.generators.specgan import SpecGAN
from framework.generators.wavegan import WaveGAN

DOCUMENT = Path(__file__).parents[2] / "docs" / "lightning.md"


def clips(count, time=4096, **more):
    """Return clips without names."""
    noise = torch.randn(count, 1, time, generator=torch.Generator().manual_seed(0))
    return [{"audio": 0.3 * clip, **more} for clip in noise]


class Clips(L.LightningDataModule):
    """A data module that counts no batches."""

    def train_dataloader(self):
        return DataLoader(clips(6, 2048), batch_size=2)

    def val_dataloader(self):
        return DataLoader(clips(5), batch_size=2)

    def test_dataloader(self):
        return DataLoader(clips(3), batch_size=1)

    predict_dataloader = val_dataloader


def plain(folder, **arguments):
    arguments = {"max_epochs": 2, "logger": False, "enable_checkpointing": False} | arguments
    return L.Trainer(
        accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, **arguments
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return a system after two epochs of three steps, its trainer, and the folder with what its callbacks kept."""
    folder = tmp_path_factory.mktemp("plain")
    callbacks = [
        ModelCheckpoint(folder, "{step}", monitor="validation/log_mel_error", save_last=True),
        EarlyStopping("validation/log_mel_error", patience=50),
        LearningRateMonitor("step"),
    ]
    trainer = plain(folder, callbacks=callbacks, logger=CSVLogger(folder), enable_checkpointing=True)
    system = make(Tiny)
    trainer.fit(system, datamodule=Clips())
    return system, trainer, folder


def test_lightnings_callbacks_find_the_metrics_of_the_validation(trained):
    system, trainer, folder = trained
    assert trainer.global_step == 6
    best = trainer.checkpoint_callback
    assert best.best_model_score == min(best.best_k_models.values())
    assert best.best_model_score == pytest.approx(trainer.early_stopping_callback.best_score)
    restored = Tiny.load_from_checkpoint(folder / "last.ckpt", weights_only=True)
    assert all(torch.equal(p, system.state_dict()[n]) for n, p in restored.state_dict().items())
    again = plain(folder, max_epochs=3)
    again.fit(make(Tiny), datamodule=Clips(), ckpt_path=folder / "last.ckpt", weights_only=True)
    assert again.global_step == 9


def test_validate_and_test_give_the_means_over_all_clips(trained):
    system, trainer, folder = trained
    trainer = plain(folder)
    for run, stage, count in ((trainer.validate, "validation", 5), (trainer.test, "test", 3)):
        (metrics,) = run(system, datamodule=Clips(), verbose=False)
        real = torch.stack([clip["audio"] for clip in clips(count)])
        fake = system.synthesize({"audio": real})
        expected = {"log_mel_error": log_mel_error(fake, real, preset("hifigan_22k"))}
        expected["stft_distance"] = stft_distance(fake, real)
        assert metrics == pytest.approx({f"{stage}/{name}": value for name, value in expected.items()}, rel=1e-3)


def test_predict_gives_the_audio(trained):
    system, _, folder = trained
    batches = plain(folder).predict(system, datamodule=Clips())
    assert [tuple(batch.shape) for batch in batches] == [(2, 1, 4096), (2, 1, 4096), (1, 1, 4096)]
    expected = system.synthesize({"audio": torch.stack([clip["audio"] for clip in clips(2)])})
    torch.testing.assert_close(batches[0], expected, rtol=1e-4, atol=1e-5)


def test_early_stopping_ends_the_training(tmp_path):
    class Worse(Alone):
        def measure(self, batch):
            return {"error": torch.tensor(float(self.global_step))}

    stop = EarlyStopping("validation/error", patience=1)
    trainer = plain(tmp_path, max_epochs=50, callbacks=[stop])
    trainer.fit(make(Worse), DataLoader(clips(2, 2048), batch_size=2), DataLoader(clips(1), batch_size=1))
    assert trainer.global_step == 2


@pytest.mark.parametrize("system", [Tiny, WaveGAN.variant(channels=2), SpecGAN.variant(channels=2)])
def test_a_data_loader_without_names_is_enough(system, tmp_path):
    system = make(system, **({"critic_steps": 2} if issubclass(system, WaveGAN | SpecGAN) else {}))
    time = getattr(system, "length", 2048)
    trainer = plain(tmp_path, max_steps=2, max_epochs=-1)
    trainer.fit(system, DataLoader(clips(4, time), batch_size=2), DataLoader(clips(2, time), batch_size=2))
    assert trainer.global_step == 2
    assert system.monitor in trainer.callback_metrics


@pytest.mark.parametrize(
    ("system", "batches", "message"),
    [
        (Alone, [torch.zeros(2, 1, 2048)], r"a batch is a Tensor: make it a dictionary with the audio"),
        (Alone, [{"wave": torch.zeros(2, 1, 2048)}], r"a batch has 'wave': it needs 'audio'"),
        (Alone, [{"audio": torch.zeros(2, 2, 2048)}], r"shape \(2, 2, 2048\): make it \(batch, 1, time\)"),
        (GriffinLimVocoder, clips(1), "GriffinLimVocoder has no weights to train: use Trainer.validate"),
    ],
)
def test_other_batches_are_refused_in_one_line(system, batches, message, tmp_path):
    with pytest.raises(OstinatoError, match=message):
        plain(tmp_path).fit(make(system), DataLoader(batches, batch_size=None))


def test_the_documentations_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = dict(re.findall(r"<!-- ([a-z ]+) -->\n```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL))
    assert blocks.keys() == {"plain lightning", "optimizers"}
    names = {"HiFiGAN": Tiny, "torch": torch, "__name__": __name__}
    exec(blocks["optimizers"], names)
    names["system"] = names["WithSGD"](learning_rate=1e-5)
    names["train_loader"] = DataLoader(clips(4, 2048), batch_size=2)
    names["val_loader"] = DataLoader(clips(2), batch_size=1)
    exec(blocks["plain lightning"], names)
    assert names["trainer"].global_step == 4
    groups = names["trainer"].optimizers[0].param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1e-5 / 2, 1e-6 / 2])
    assert names["audio"][0].shape == (1, 1, 4096)
    assert "validation/stft_distance" in names["metrics"]
