"""Every argument of Lightning's Trainer is passed on, in the identity where it can change a result, or refused."""

import csv
import inspect

import lightning as L
import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch.callbacks import EarlyStopping
from tiny_system import make, train

from framework.cli import main
from framework.errors import OstinatoError
from framework.strategies import GradientAveraging, strategy
from framework.trainer_arguments import ARGUMENTS, check_arguments, settings_in_identity, validation_interval

DEFAULTS = {n: p.default for n, p in inspect.signature(L.Trainer.__init__).parameters.items() if n != "self"}
REFUSED = {name: argument.instead for name, argument in ARGUMENTS.items() if argument.instead}


def test_no_argument_of_the_trainer_is_forgotten():
    assert set(ARGUMENTS) == set(DEFAULTS)


def test_a_plugin_that_changes_numbers_is_in_the_identity():
    precision = "lightning.pytorch.plugins.DoublePrecision"
    assert settings_in_identity({"plugins": precision}) == {"plugins": [{"class_path": precision}]}
    for harmless in ("environments.SLURMEnvironment", "io.AsyncCheckpointIO"):
        assert settings_in_identity({"plugins": f"lightning.pytorch.plugins.{harmless}"}) == {}


@pytest.mark.parametrize(("name", "instead"), REFUSED.items())
def test_an_argument_that_is_refused_names_what_to_use(name, instead):
    check_arguments({name: DEFAULTS[name]}, DEFAULTS)
    with pytest.raises(OstinatoError) as raised:
        check_arguments({name: 2}, DEFAULTS)
    assert str(raised.value) == f"trainer.{name} = 2 is not supported: {instead}"
    assert "--" in instead or "`" in instead or "itself" in instead or "always" in instead


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trainer.gradient_clip_val", "1.0"], "trainer.gradient_clip_val = 1.0 is not supported: set --model.grad"),
        (["--trainer.accumulate_grad_batches", "2"], "set --model.accumulate_grad_batches"),
        (["--trainer.check_val_every_n_epoch", "2"], "set --trainer.val_check_interval"),
        (["--trainer.strategy", "ddpp"], "trainer.strategy = 'ddpp' is not one of auto, ddp, single_device: did you"),
        (["--trainer.max_steps", "0"], "trainer.max_steps = 0: a training makes at least 1 step"),
        (["--trainer.callbacks", "BatchSizeFinder"], "callback BatchSizeFinder: .* set --data.batch_size"),
        (["--trainer.callbacks", "DeviceStatsMonitor", "--trainer.limit_val_batches", "0.1"], "Lightning: "),
    ],
)
def test_a_command_line_is_refused_in_one_line(arguments, message, recordings, capsys):
    import re

    assert main(["fit", *SMALL, *arguments]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("ostinato: error:")]
    assert re.search(message, line)


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ({"gradient_clip_val": 1.0}, "model.gradient_clip"),
        ({"accumulate_grad_batches": 2}, "model.accumulate_grad_batches"),
    ],
)
def test_so_is_a_trainer_made_in_python(arguments, remedy):
    with pytest.raises(OstinatoError, match=remedy):
        train(make(), 1, **arguments)


def test_a_callback_that_may_end_the_training_is_in_the_identity():
    def configured(name):
        return [{"class_path": f"lightning.pytorch.callbacks.{name}", "init_args": {}}]

    plain = {"max_steps": 10, "val_check_interval": 5, "devices": 2, "max_epochs": None}
    assert settings_in_identity(plain) == {"max_steps": 10}
    assert settings_in_identity(plain | {"callbacks": configured("LearningRateMonitor")}) == {"max_steps": 10}
    found = settings_in_identity(plain | {"callbacks": configured("EarlyStopping")})
    assert found == {"max_steps": 10, "val_check_interval": 5, "callbacks": configured("EarlyStopping")}


class Epoch:
    """A data module with seven batches."""

    steps_per_epoch = 7


@pytest.mark.parametrize(
    ("value", "limit", "steps"), [(500, None, 500), (0.5, None, 3), (1.0, None, 7), (0.01, None, 1), (0.5, 4, 2)]
)
def test_validation_is_placed_by_steps_or_by_shares_of_an_epoch(value, limit, steps):
    assert validation_interval({"val_check_interval": value, "limit_train_batches": limit}, Epoch) == steps


@pytest.mark.parametrize("value", [0, -1, 0.0, 1.5, "00:01:00:00", True])
def test_other_places_of_validation_are_refused(value):
    with pytest.raises(OstinatoError, match=r"trainer.val_check_interval = "):
        validation_interval({"val_check_interval": value, "limit_train_batches": None}, Epoch)


def test_strategies_that_average_gradients_are_one():
    settings = {"devices": 2, "num_nodes": 1, "accelerator": "cpu"}
    for name in ("auto", "ddp", "ddp_find_unused_parameters_true"):
        assert isinstance(strategy(settings | {"strategy": name}), GradientAveraging)
    assert strategy(settings | {"strategy": "auto", "devices": 1}) == "auto"
    own = GradientAveraging(compress="bf16")
    assert strategy(settings | {"strategy": own}) is own
    for name in ("fsdp", "deepspeed", "ddp_spawn", "single_device"):
        with pytest.raises(OstinatoError, match=f"trainer.strategy = '{name}' .* use ddp"):
            strategy(settings | {"strategy": name})


SMALL = [
    "hifigan_bach", "--data=recordings", "--model.channels=16", "--model.upsample_rates=[16,16]",
    "--model.upsample_kernels=[32,32]", "--model.kernels=[3]", "--model.dilations=[[1]]",
    "--model.adversarial_start=15", "--data.batch_size=2", "--data.segment=2048", "--trainer.max_steps=8",
    "--trainer.log_every_n_steps=1", "--trainer.accelerator=cpu",
]  # fmt: skip


@pytest.fixture
def recordings(tmp_path, monkeypatch):
    """Go to a folder with recordings, of which eight are trained on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OSTINATO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    (tmp_path / "recordings").mkdir()
    for number in range(10):
        noise = 0.1 * np.random.default_rng(number).standard_normal(8000)
        soundfile.write(tmp_path / "recordings" / f"{number}.wav", noise, 22050)
    return tmp_path


def test_supported_arguments_do_what_they_say_and_leave_the_training_alone(recordings):
    assert main(["fit", *SMALL, "--runs=plain", "--trainer.val_check_interval=4"]) == 0
    more = [
        "--trainer.val_check_interval=0.5", "--trainer.num_sanity_val_steps=1", "--trainer.enable_model_summary=true",
        "--trainer.reload_dataloaders_every_n_epochs=1", "--trainer.detect_anomaly=true",
        "--trainer.deterministic=true", "--trainer.inference_mode=false",
        "--trainer.logger=CSVLogger", "--trainer.logger.save_dir=theirs",
        "--trainer.plugins=lightning.pytorch.plugins.environments.LightningEnvironment",
        "--trainer.callbacks+=ModelCheckpoint", "--trainer.callbacks.monitor=validation/log_mel_error",
        "--trainer.callbacks.dirpath=theirs", "--trainer.callbacks+=LearningRateMonitor",
        "--trainer.callbacks+=TQDMProgressBar", "--trainer.callbacks+=Timer",
        "--trainer.callbacks.duration=01:00:00:00",
    ]  # fmt: skip
    assert main(["fit", *SMALL, "--runs=more", *more]) == 0
    torch.use_deterministic_algorithms(False)
    (plain,), (own,) = (list(recordings.glob(f"{runs}/*/*")) for runs in ("plain", "more"))
    assert plain.name == own.name, "none of them is part of the identity"
    weights = [torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"] for run in (plain, own)]
    assert all(torch.equal(weights[0][name], value) for name, value in weights[1].items())
    rows = list(csv.DictReader((own / "metrics.csv").read_text().splitlines()))
    # Four batches are an epoch.
    assert [row["step"] for row in rows if row["validation/log_mel_error"]] == ["2", "4", "6", "8"]
    assert any(row.get("lr-AdamW") for row in rows)
    assert len(list(recordings.glob("theirs/*.ckpt"))) == 1
    assert list(recordings.glob("theirs/lightning_logs/*/metrics.csv"))


def test_early_stopping_makes_another_run(recordings):
    stop = ["--trainer.callbacks=EarlyStopping", "--trainer.callbacks.monitor=validation/log_mel_error"]
    stop += ["--trainer.callbacks.patience=1", "--trainer.callbacks.min_delta=100", "--trainer.val_check_interval=2"]
    assert main(["fit", *SMALL, *stop]) == 0
    (metrics,) = recordings.glob("runs/*/*/metrics.csv")
    rows = list(csv.DictReader(metrics.read_text().splitlines()))
    assert [row["step"] for row in rows if row["validation/log_mel_error"]] == ["2", "4"]
    assert max(int(row["step"]) for row in rows) == 4
    assert EarlyStopping.__name__ in (metrics.parent / "config.yaml").read_text()
