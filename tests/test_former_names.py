"""Former names of hyperparameters: identities keep them, and all that is stored or written with them can be used."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

from framework.aliases import MEMBERS, announce, members_of, with_first_names
from framework.ancestry import behaviour
from framework.catalogue import find
from framework.cli import main
from framework.evaluation.columns import flat
from framework.generators.diffwave import DiffWave
from framework.hyperparameters import Hyperparameters
from framework.paradigms.diffusion import Diffusion
from framework.paradigms.noise_schedules import NoiseSchedule
from framework.release import load
from framework.runs.identity import identity, model_of_today, signature
from framework.runs.released import KEY
from framework.workflow.runs import open_run

# Signatures as they were when the hyperparameters had these names.
SIGNATURES = {
    "diffwave": ({}, "ab99ffa9d5"),
    "diffwave_notes": ({"levels": 20, "first_beta": 1e-3, "last_beta": 0.1, "distance": "l2"}, "2bc400bec4"),
    "specgrad": ({"deviation": 3.0}, "f7e79253b0"),
    "codec_bach": ({"codebooks": 4}, "cbda4fb0e0"),
    "encodec_24k": ({"dimension": 64, "trained_books": (2, 4)}, "ed5f41d560"),
    "dac_44k": ({"codebook_dimensions": 4}, "981be765b3"),
    "vae_bach": ({"dimension": 32, "adversarial_start": 2_700, "stft_weight": 0.0}, "47c1176d08"),
    "musegan_bach": ({"latent": 64}, "0f3b49a284"),
    "wavegan_notes": ({"latent": 50}, "3152d9debc"),
    "dcgan_notes": ({"labels": 4}, "aa155a57ef"),
    "hifigan_v3": ({"mel_weight": 15.0}, "6dc66330ff"),
    "wavenet_notes": ({"mel_deviation": 2.0, "labels": 3}, "5c6ef1d466"),
    "ddsp_pytorch": ({"loudness_deviation": 2.0}, "efeb6f81d8"),
    "ddsp_autoencoder": ({"latents": 8}, "62377d0123"),
    "note_classifier": ({"classes": 4, "deviation": 3.0}, "4a8bea997f"),
    "wholesong_bach_form": ({"levels": 100}, "5f9e987ec8"),
    "latent_diffusion_bach": ({"levels": 30}, "2216e0ec44"),
    "code_language_model_notes": ({"labels": 5, "books": 2}, "d39a36ae86"),
}
SMALL = ["--model.layers=2", "--model.channels=4", "--model.cycle=2", "--model.fast_betas=[0.002,0.1,0.3]"]
FORMER = [*SMALL, "--model.levels", "10", "--model.last_beta=0.1", "--model.distance=l2"]
TODAY = [*SMALL, "--model.timesteps=10", "--model.beta_end=0.1", "--model.loss_type=l2"]
SHORT = [
    "--data", "sounds", "--data.batch_size=2", "--data.segment=2048", "--data.validation_clips=1",
    "--trainer.max_steps=4", "--trainer.val_check_interval=2", "--trainer.accelerator=cpu",
]  # fmt: skip


def fresh(name, values):
    """Return an experiment's system and data with nothing built."""
    cls = find(name).variant(**values)
    system, data = cls.__new__(cls), cls.data.__new__(cls.data)
    if name.startswith(("latent_", "code_")):
        object.__setattr__(system, "codec" if name.startswith("code_") else "latents", SimpleNamespace(fingerprint="0"))
    return system, data


@pytest.mark.parametrize("name", SIGNATURES)
def test_identities_keep_the_first_names(name):
    former, expected = SIGNATURES[name]
    today = {members_of(find(name)).get(n, n): v for n, v in former.items()}
    for values in (former, today):
        system, data = fresh(name, values)
        assert signature(identity(system, data, {"max_steps": 100}, 1, manifest="data")) == expected
    assert all(getattr(system, n) == v for n, v in former.items())


def test_every_former_name_leads_to_a_member_of_its_class():
    for path, members in MEMBERS.items():
        module, _, name = path.partition(":")
        cls = getattr(__import__(module, fromlist=[name]), name)
        for former, today in members.items():
            assert former not in cls.hyperparameters
            assert former in vars(cls) or cls is Hyperparameters
            assert today in cls.hyperparameters or hasattr(cls, today)


def test_an_experiment_file_may_set_and_read_former_names(capsys):
    announce.cache_clear()

    class Own(DiffWave):
        levels = 12
        sampler = "ddim"
        first_beta: float = 2e-3

        def build_schedule(self):
            return NoiseSchedule.quadratic(self.levels, self.first_beta, self.last_beta)

    class Further(Own):
        levels = 13

    told = capsys.readouterr().err.splitlines()
    assert told == [
        "note: Own.levels is now called timesteps",
        "note: Own.first_beta is now called beta_start",
        "note: Further.levels is now called timesteps",
    ]
    assert (Own.timesteps, Own.levels, Further.timesteps, Own.beta_start) == (12, 12, 13, 2e-3)
    assert Further.changes() == {"timesteps": (12, 13)}
    system = Own(layers=2, channels=4, timesteps=14)
    assert (system.levels, len(system.noise_schedule)) == (14, 14)
    assert "levels" not in system.hparams
    assert identity(system, fresh("diffwave", {})[1], {}, 1, "data")["model"].items() >= {("levels", 14)}


def test_a_system_may_override_and_call_methods_by_former_names(capsys):
    announce.cache_clear()

    class Doubled:
        def weight(self, name):
            return 2 * super().weight(name)

    class Mine(Doubled, DiffWave):
        copies = False

        def terms(self, batch):
            return {"twice": 2 * super().terms(batch)["denoising"]}

    class Later(Mine):
        def training_losses(self, batch):
            return super().training_losses(batch) | self.truth(batch)

        def truth(self, batch):
            return {"other": super().truth(batch).sum()}

    assert {line.split()[1] for line in capsys.readouterr().err.splitlines()} == {
        "Doubled.weight", "Mine.copies", "Mine.terms", "Later.truth",
    }  # fmt: skip
    batch = {"audio": torch.zeros(1, 1, 1024), "key": ["zeros"]}
    losses = Later(layers=2, channels=4).training_losses(batch)
    assert set(losses) == {"twice", "other"}
    torch.manual_seed(0)
    system = Mine(layers=2, channels=4)
    assert (system.reconstructs_input, system.loss_weight("any"), system.weight("any")) == (False, 2, 2)
    torch.manual_seed(1)
    own = DiffWave.training_losses(system, batch)["denoising"]
    torch.manual_seed(1)
    assert torch.equal(system.terms(batch)["twice"], 2 * own)
    assert Later.structure()[0] is Later
    assert "terms" not in behaviour(Later)
    assert "terms()" not in Later.changes()


def test_names_are_those_of_a_class_and_its_subclasses():
    assert members_of(DiffWave).items() >= MEMBERS["framework.paradigms.diffusion:Diffusion"].items()
    assert "levels" not in members_of(find("hifigan_v3"))
    assert with_first_names(Diffusion, {"timesteps": 5, "seed": 1}) == {"levels": 5, "seed": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a folder with a run that was trained with former names, and its release."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "sounds").mkdir()
    for number in range(4):
        tone = 0.3 * np.sin(2 * np.pi * (300 + 50 * number) * np.arange(22050) / 22050)
        soundfile.write(folder / "sounds" / f"{number}.wav", tone, 22050)
    with pytest.MonkeyPatch.context() as patched:
        enter(patched, folder)
        assert main(["fit", "diffwave", *FORMER, *SHORT]) == 0
        (run,) = folder.glob("runs/*/*")
        assert main(["release", str(run), "--output", "old.safetensors"]) == 0
    make_old(run, folder / "old.safetensors")
    return folder


def enter(patched, folder):
    patched.chdir(folder)
    patched.setenv("OSTINATO_CACHE", str(folder / "cache"))
    patched.setenv("WANDB_MODE", "disabled")


def make_old(run, release):
    """Give all that was stored the names that it had before."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["timesteps"] == config["identity"]["model"]["levels"] == 10
    config["model"] = with_first_names(DiffWave, config["model"])
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    for path in run.glob("checkpoints/*.ckpt"):
        checkpoint = torch.load(path, weights_only=False)
        checkpoint["hyper_parameters"] = with_first_names(DiffWave, dict(checkpoint["hyper_parameters"]))
        assert checkpoint["hyper_parameters"]["levels"] == 10
        torch.save(checkpoint, path)
    with safe_open(release, "pt") as file:
        header = json.loads(file.metadata()[KEY])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    header["hyperparameters"] = with_first_names(DiffWave, header["hyperparameters"])
    save_file(weights, release, {KEY: json.dumps(header)})


@pytest.fixture
def run(place, monkeypatch):
    enter(monkeypatch, place)
    announce.cache_clear()
    (config,) = Path("runs").glob("diffwave/*/config.yaml")
    return config.parent


def test_a_command_line_may_have_former_names(run, capsys):
    assert main(["show", "diffwave", *FORMER]) == 0
    printed = capsys.readouterr()
    assert sorted(line for line in printed.err.splitlines() if "now called" in line) == [
        "note: --model.distance is now called --model.loss_type",
        "note: --model.last_beta is now called --model.beta_end",
        "note: --model.levels is now called --model.timesteps",
    ]
    assert main(["show", "diffwave", *TODAY]) == 0
    assert capsys.readouterr().out == printed.out
    Path("settings.yaml").write_text("model:\n  levels: 10\n  sampler: ddim\n  channels: 4\nmodel.distance: l2\n")
    assert main(["show", "diffwave", "--config", "settings.yaml"]) == 0
    shown = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines() if "model." in line}
    assert (shown["model.timesteps"], shown["model.loss_type"]) == ("10", "'l2'")


def test_an_old_run_is_opened_continued_and_not_made_anew(run, capsys):
    opened = open_run(run).load()
    assert (opened.timesteps, opened.beta_end, opened.loss_type) == (10, 0.1, "l2")
    own = DiffWave.load_from_checkpoint(run / "checkpoints" / "last.ckpt", weights_only=False)
    assert own.timesteps == 10
    assert all(torch.equal(a, b) for a, b in zip(own.parameters(), opened.parameters(), strict=True))
    shutil.copyfile(run / "checkpoints" / "previous.ckpt", run / "checkpoints" / "last.ckpt")
    (run / "summary.json").unlink()
    assert main(["fit", "diffwave", *TODAY, *SHORT]) == 0
    assert "continuing from last.ckpt" in capsys.readouterr().out
    assert list(Path("runs").glob("*/*/config.yaml")) == [run / "config.yaml"]
    again = open_run(run).load()
    assert all(torch.allclose(a, b) for a, b in zip(again.parameters(), own.parameters(), strict=True))


def test_an_old_release_is_used_and_opened(run):
    mel = torch.randn(1, 80, 20)
    assert load("old.safetensors").system.timesteps == 10
    assert load("old.safetensors").synthesize(mel).shape == (1, 1, 19 * 256)
    assert open_run("old.safetensors").load().timesteps == 10


def test_old_and_new_runs_are_compared_by_names_of_today():
    old, new = (
        {"system": "framework.generators.diffwave:DiffWave", "model": {"levels": levels, "channels": 4}}
        for levels in (50, 60)
    )
    values = [flat({"model": model_of_today("", one)}) for one in (old, new)]
    assert values[0] == {"model.timesteps": 50, "model.channels": 4}
    assert values[1]["model.timesteps"] == 60
