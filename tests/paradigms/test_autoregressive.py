"""Teacher forcing, its measures and sampling, as a system."""

import math

import lightning as L
import pytest
import torch

from framework.audio.mu_law import encode
from framework.data_module import DataModule
from framework.generators.wavenet.system import WaveNet, WaveNetVocoder
from framework.losses.likelihood import Gaussian, LogisticMixture


class Noise(DataModule):
    """Batches of noise, the same every time."""

    sample_rate = 22050
    segment = 2048

    def train_dataloader(self):
        audio = 0.2 * torch.randn(8, 1, self.segment, generator=torch.Generator().manual_seed(0))
        clips = [{"audio": clip, "key": str(i), "instrument": i % 2} for i, clip in enumerate(audio)]
        return torch.utils.data.DataLoader(clips, batch_size=2)

    def advance(self, batch):
        pass

    def held_out(self, split, clips=None):
        return iter(())


class Tiny(WaveNet):
    """Small enough for a test."""

    layers = 6
    cycle = 3
    residual_channels = 8
    gate_channels = 16
    skip_channels = 8


class Labelled(Tiny):
    label = "instrument"
    num_classes = 2
    synthesized_label = 1


class Vocoder(WaveNetVocoder):
    layers = 4
    cycle = 2
    residual_channels = 8
    gate_channels = 16
    skip_channels = 8

    def build_distribution(self):
        return LogisticMixture(3)


class Bell(Vocoder):
    def build_distribution(self):
        return Gaussian()


SYSTEMS = [Tiny, Labelled, Vocoder, Bell]


def make(cls, **values):
    torch.manual_seed(0)
    return cls(**values)


def clip(time=3000, batch=1):
    generator = torch.Generator().manual_seed(1)
    return {"audio": 0.2 * torch.randn(batch, 1, time, generator=generator), "instrument": torch.ones(batch).long()}


def train(system, steps, data=None, **arguments):
    trainer = L.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", **arguments,
    )  # fmt: skip
    trainer.fit(system, datamodule=data or Noise())
    return trainer


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("cls", SYSTEMS)
def test_learns(cls, precision):
    system = make(cls)
    batch = clip()
    before = system.measure(batch)["bits_per_sample"]
    trainer = train(system, 6, precision=precision)
    assert trainer.callback_metrics["train/nll"].dtype == torch.float32
    assert system.network is (system.averaged_generator.module if cls.ema_decay else system.generator)
    assert all(torch.isfinite(p).all() for p in system.parameters())
    if not cls.ema_decay:
        assert system.measure(batch)["bits_per_sample"] < before


@pytest.mark.parametrize("cls", SYSTEMS)
@torch.no_grad()
def test_a_prediction_sees_what_came_before_and_nothing_else(cls):
    system = make(cls).double()
    batch = clip(1024)
    condition = system.condition(batch)
    condition = {n: v.double() if v.is_floating_point() else v for n, v in condition.items()}

    def outputs(audio):
        past = system.past(system.signal(audio))
        return system.generator(past.double() if past.is_floating_point() else past, **condition)

    changed = batch["audio"].clone()
    changed[..., 500] += 0.5
    difference = (outputs(changed) - outputs(batch["audio"])).abs().amax(dim=(0, 1))
    assert difference[:501].max() == 0
    assert difference[501] > 0


@pytest.mark.parametrize("cls", SYSTEMS)
def test_measured_in_pieces_as_in_one(cls):
    system = make(cls)
    batch = clip(2500)
    with torch.no_grad():
        whole, pieces = system.level_nll(batch), system.level_nll(batch, piece=311)
    assert whole.shape == (1, 2500)
    torch.testing.assert_close(pieces, whole, atol=1e-4, rtol=1e-4)
    measures = system.measure(batch)
    assert measures["bits_per_sample"].item() == pytest.approx(whole.mean().item() / math.log(2), abs=1e-4)
    assert measures["perplexity"].item() == pytest.approx(whole.mean().exp().item(), rel=1e-3)


def test_of_mu_law_the_loss_is_what_is_measured():
    system = make(Tiny)
    nll = system.training_losses(clip())["nll"].item()
    assert system.measure(clip())["bits_per_sample"].item() == pytest.approx(nll / math.log(2), abs=1e-5)


def test_bits_are_those_of_counting_where_the_network_knows_nothing_else():
    system = make(Tiny)
    batch = clip(20_000)
    counts = torch.bincount(encode(batch["audio"]).flatten(), minlength=256).double()
    share = counts / counts.sum()
    torch.nn.init.zeros_(system.generator.last_convs[1].weight)
    with torch.no_grad():
        system.generator.last_convs[1].bias.copy_(share.clamp(min=1e-9).log())
    entropy = -(share * share.clamp(min=1e-9).log2()).sum().item()
    assert system.measure(batch)["bits_per_sample"].item() == pytest.approx(entropy, abs=1e-4)


@pytest.mark.parametrize("cls", SYSTEMS)
def test_samples_any_length_and_the_same_for_a_seed(cls):
    system = make(cls)
    batch = clip(600, batch=2)
    torch.manual_seed(3)
    audio = system.synthesize(batch)
    assert audio.shape == (2, 1, 600)
    assert audio.abs().max() <= 1
    assert not torch.equal(audio[0], audio[1])
    torch.manual_seed(3)
    assert torch.equal(system.synthesize(batch), audio)
    empty = {name: v[..., :0] if name == "audio" else v for name, v in batch.items()}
    assert system.synthesize(empty).shape == (2, 1, 0)


def test_temperature_zero_leaves_nothing_to_chance():
    system = make(Tiny, temperature=0.0)
    assert torch.equal(system.synthesize(clip(100)), system.synthesize(clip(100)))
    with pytest.raises(ValueError, match=r"temperature = -1\.0"):
        make(Tiny, temperature=-1.0)


def test_labels_are_heard_and_checked():
    system = make(Labelled)
    batch = clip(300)
    one = system.training_losses(batch)["nll"]
    assert system.training_losses(batch | {"instrument": torch.zeros(1).long()})["nll"] != one
    assert system.batch_from_audio(batch["audio"])["instrument"].tolist() == [1]
    with pytest.raises(ValueError, match=r"instrument \[2\]: the networks have 2"):
        system.training_losses(batch | {"instrument": torch.tensor([2])})


def test_pre_emphasis_is_undone():
    system = make(Vocoder)
    audio = clip(500)["audio"]
    torch.testing.assert_close(system.audio(system.signal(audio)), audio, atol=1e-5, rtol=0)
    signal = system.signal(audio)
    torch.testing.assert_close(signal[..., 1:], 0.55 * (audio[..., 1:] - 0.85 * audio[..., :-1]))


def test_segments_shorter_than_the_receptive_field_are_refused():
    short = Noise()
    short.segment = 1000
    with pytest.raises(ValueError, match="a segment of 1000 samples is shorter than the receptive field of 1024"):
        train(make(Tiny, layers=10, cycle=10), 1, short)
