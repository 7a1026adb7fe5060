"""A released system against the run it is of: used by a process without Lightning, damaged, and trained on."""

import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import lightning as L
import pytest
import torch
from noise_clips import Noise
from safetensors.torch import save_file

from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.export import release as releasing
from framework.export.release import begin_from, load_eval_weights, release
from framework.generators.codecs.encodec import Encodec
from framework.generators.hifigan import HiFiGAN
from framework.paradigms.noise_driven import NoiseDriven
from framework.release import Released, load
from framework.runs import released
from framework.runs.checkpoints import AtomicCheckpointIO, CheckpointError, read_checkpoint

FACTS = {"experiment": "experiments.tiny:Tiny", "step": 3, "run": "0123456789", "family": None, "data": None}


class Tiny(HiFiGAN):
    channels = 8
    upsample_rates = (16, 16)
    upsample_kernels = (32, 32)
    residual_block = 2
    kernels = (3,)
    dilations = ((1,),)
    ema_decay = 0.9

    def build_discriminators(self):
        return {"multi_period": MultiPeriodDiscriminator(periods=(2,), channels=(4, 8))}


def train(system, steps, start=None):
    trainer = L.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", plugins=[AtomicCheckpointIO()],
    )  # fmt: skip
    trainer.fit(system, datamodule=Noise(), ckpt_path=start, weights_only=True)
    return trainer


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained system, its checkpoint, and what was released of it without and with what training needs."""
    folder = tmp_path_factory.mktemp("run")
    torch.manual_seed(0)
    system = Tiny()
    train(system, 3).save_checkpoint(folder / "last.ckpt", weights_only=False)
    release(system, folder / "small.safetensors", FACTS)
    release(system, folder / "full.safetensors", FACTS, read_checkpoint(folder / "last.ckpt"))
    return system.eval(), folder


USE = """
import sys
for name in ("lightning", "pytorch_lightning", "wandb", "webdataset", "jsonargparse"):
    sys.modules[name] = None
import importlib, pkgutil
import torch
torch.set_num_threads(1)
from framework.release import load
audio = torch.load("audio.pt")
released = load("small.safetensors")
made = released.synthesize(audio), released.synthesize(released.front_end(audio[..., :2560]))
torch.save(made, "made.pt")
import framework.generators
for module in pkgutil.walk_packages(framework.generators.__path__, "framework.generators."):
    importlib.import_module(module.name)
"""

ORDER = """
import sys
from framework.release import load
system = load("small.safetensors").system
import copy, pickle
import lightning, torch
from framework.generators.hifigan import HiFiGAN
from framework.synthesizer import Synthesizer
assert type(system) is HiFiGAN and isinstance(system, lightning.LightningModule) and isinstance(system, Synthesizer)
audio = 0.1 * torch.ones(1, 1, 2560)
for made in (pickle.loads(pickle.dumps(system)), copy.deepcopy(system)):
    assert torch.equal(made(audio), system(audio)) and not made.training
"""


def test_a_process_without_lightning_synthesizes_the_same(run):
    system, folder = run
    audio = 0.3 * torch.randn(1, 1, 3000, generator=torch.Generator().manual_seed(1))
    torch.save(audio, folder / "audio.pt")
    subprocess.run([sys.executable, "-c", USE], cwd=folder, check=True, env=os.environ | {"PYTHONPATH": os.getcwd()})
    of_audio, of_mel = torch.load(folder / "made.pt")
    assert torch.equal(of_audio, system.synthesize({"audio": audio}))
    assert torch.equal(of_mel, system.synthesize({"audio": audio[..., :2560]}))
    metadata = load(folder / "small.safetensors").metadata
    assert metadata["system"] == "framework.generators.hifigan:HiFiGAN"
    assert (metadata["run"], metadata["step"], metadata["sample_rate"]) == ("0123456789", 3, 22050)


def test_a_release_opened_before_lightning_is_imported_has_the_class_of_everybody(run):
    subprocess.run([sys.executable, "-c", ORDER], cwd=run[1], check=True, env=os.environ | {"PYTHONPATH": os.getcwd()})


def test_what_was_opened_for_synthesis_has_no_losses_and_is_not_trained(run):
    system = load(run[1] / "small.safetensors").system
    assert not list(system.losses)
    assert not hasattr(system, "discriminators")
    with pytest.raises(TypeError, match="was opened for synthesis and has no losses: train the experiment"):
        train(system, 1)


def test_a_system_with_the_weights_of_a_release_pickles(run):
    system = Tiny()
    load_eval_weights(system, released.as_checkpoint(run[1] / "small.safetensors"), "small.safetensors")
    copied, audio = pickle.loads(pickle.dumps(system.eval())), torch.ones(1, 1, 2560)
    assert torch.equal(copied.synthesize(audio), system.synthesize(audio))


def test_threads_synthesize_their_own_mels_and_the_front_end_stays(run):
    made = load(run[1] / "small.safetensors")
    front_end, mels = made.front_end, torch.randn(8, 1, 80, 12)
    alone = [made.synthesize(mel) for mel in mels]
    begin, generate = threading.Barrier(4), type(made.system).generate

    def together(system, batch):
        # Each has its mel in place before any of them looks at it.
        begin.wait(30)
        return generate(system, batch)

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(4) as pool:
        patch.setattr(type(made.system), "generate", together)
        found = list(pool.map(made.synthesize, mels))
    assert all(torch.equal(one, other) for one, other in zip(found, alone, strict=True))
    assert made.front_end is front_end


def test_a_mel_is_taken_in_any_precision_and_by_who_reads_it(run):
    made, mel = load(run[1] / "small.safetensors"), torch.randn(1, 80, 12)
    assert torch.equal(made.synthesize(mel.double()), made.synthesize(mel.double().float()))
    codec = Released(Encodec(channels=4, latent_dim=8, rates=(4, 4), codebook_size=16).eval(), {})
    assert codec.synthesize(torch.randn(1, 1, 320)).shape == (1, 1, 320)
    with pytest.raises(ValueError, match="Encodec does not read log-mels"):
        codec.synthesize(torch.randn(1, codec.system.preset.n_mels, 12))


def test_a_damaged_or_foreign_file_is_said_to_be(run, tmp_path):
    whole = (run[1] / "small.safetensors").read_bytes()
    flipped = bytearray(whole)
    flipped[-1] ^= 1
    files = {
        "cut.safetensors": (whole[: len(whole) // 2], "cut short"),
        "text.safetensors": (b"no tensors at all", "cut short or no safetensors"),
        "flipped.safetensors": (bytes(flipped), "damaged"),
    }
    for name, (content, message) in files.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(released.ReleaseError, match=f"{name}.*{message}"):
            load(tmp_path / name)
    with pytest.raises(released.ReleaseError, match="no such file"):
        load(tmp_path / "missing.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors", {"format": "pt"})
    with pytest.raises(released.ReleaseError, match="not written by `ostinato release`"):
        load(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("fact", "value", "message"),
    [
        ("format", 99, "format 99"),
        ("system", "framework.generators.hifigan:LoFiGAN", "LoFiGAN cannot be built"),
        ("system", "framework.generators.melgan:MelGAN", "MelGAN cannot be built"),
        ("front_end", {"f_max": 7600.0}, "another version"),
    ],
)
def test_what_is_not_here_as_it_was_is_refused(run, tmp_path, fact, value, message):
    weights, header = released.read_release(run[1] / "small.safetensors")
    changed = header[fact] | value if isinstance(value, dict) else value
    path = tmp_path / "other.safetensors"
    save_file(weights, path, {released.KEY: json.dumps(header | {fact: changed})})
    with pytest.raises(released.ReleaseError, match=message):
        load(path)


def test_weights_of_another_network_are_refused(run):
    checkpoint = read_checkpoint(run[1] / "small.safetensors")
    with pytest.raises(CheckpointError, match="holds another network than Tiny: generator"):
        load_eval_weights(Tiny(channels=16), checkpoint, "small.safetensors")


def test_training_goes_on_from_a_release_as_from_the_checkpoint(run):
    ends = []
    for start in ("last.ckpt", "full.safetensors"):
        system = Tiny()
        trainer = train(system, 5, run[1] / start)
        ends.append((system.state_dict(), [optimizer.state_dict() for optimizer in trainer.optimizers]))
        assert trainer.global_step == 5
    (weights, optimizers), (other_weights, other_optimizers) = ends
    assert any(name.startswith("discriminators.") for name in weights)
    assert all(torch.equal(value, other_weights[name]) for name, value in weights.items())
    for optimizer, other in zip(optimizers, other_optimizers, strict=True):
        assert optimizer["param_groups"] == other["param_groups"]
        for number, state in optimizer["state"].items():
            assert all(torch.equal(value, other["state"][number][name]) for name, value in state.items())


def test_a_small_release_is_judged_the_same_and_begins_a_training(run):
    system, folder = run
    checkpoint = read_checkpoint(folder / "small.safetensors")
    mel = torch.randn(1, 80, 12)
    tested, begun = Tiny().eval(), Tiny()
    load_eval_weights(tested, checkpoint, "small.safetensors")
    assert torch.equal(tested.eval_generator(mel), system.eval_generator(mel))
    begin_from(begun, checkpoint, "small.safetensors")
    assert begun.state_dict().keys() == Tiny().state_dict().keys()
    torch.testing.assert_close(begun.generator(mel), system.eval_generator(mel), atol=1e-6, rtol=0)


def test_a_full_disk_leaves_nothing(run, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(released, "save_file", full)
    with pytest.raises(released.ReleaseError, match="make room"):
        release(run[0], tmp_path / "small.safetensors", FACTS)
    assert not list(tmp_path.iterdir())


def test_a_system_that_only_its_experiment_knows_is_not_taken_for_the_frameworks():
    class Louder(Tiny):
        def condition(self, batch):
            return 2 * super().condition(batch)

    assert releasing.synthesizing(Tiny) is HiFiGAN
    assert releasing.synthesizing(Louder) is Louder
    assert releasing.synthesizing(NoiseDriven) is NoiseDriven
