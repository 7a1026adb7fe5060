"""Generators from noise against the numbers of their official implementations, and what they are told and asked."""

import math
from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from reference.weights import fill_tensorflow_variable, load_reference, official_state, uniform

from framework.audio.mel import preset
from framework.data_module import DataModule
from framework.discriminators.dcgan import DCGANDiscriminator
from framework.discriminators.multi_scale import MelGANDiscriminator
from framework.discriminators.waveform import PhaseShuffle, SpecGANDiscriminator, WaveGANDiscriminator
from framework.generators.dcgan import DCGANGenerator, PianorollDCGAN, SpectrogramDCGAN
from framework.generators.specgan import SpecGAN, SpecGANGenerator, SpectrogramImage
from framework.generators.wavegan import WaveGAN, WaveGANGenerator
from framework.music.notes import Note
from framework.runs.importers import OfficialCheckpointError, load_official

VARIABLES = np.load(Path(__file__).parents[1] / "reference" / "wavegan_tf.npz")
NETWORKS = (WaveGANGenerator, WaveGANDiscriminator, SpecGANGenerator, SpecGANDiscriminator)


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


def tensorflow_variables(prefix):
    """Return the variables whose names and shapes the reference lists, as TensorFlow lays them out."""
    listed = (entry.split("|") for entry in VARIABLES[f"{prefix}_keys"])
    shapes = {name: tuple(int(size) for size in shape.strip("()").split(",") if size) for name, shape in listed}
    return {name: fill_tensorflow_variable(name, shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("prefix", "network"), [("wg", WaveGANGenerator), ("sg", SpecGANGenerator)])
@torch.no_grad()
def test_generators_equal_tensorflows(prefix, network, tmp_path):
    # As a checkpoint has them: with the other network, and what the optimiser keeps.
    stored = {f"G/{name}": value for name, value in tensorflow_variables(prefix).items()}
    stored |= {f"G/{name}/Adam": value for name, value in tensorflow_variables(prefix).items()}
    stored |= {"global_step": np.zeros(()), "D/output/dense/kernel": np.zeros((2048, 1), np.float32)}
    np.savez(tmp_path / "model.npz", **stored)
    generator = network(channels=8)
    load_official(generator, tmp_path / "model.npz")
    expected = torch.from_numpy(VARIABLES[f"{prefix}_out"]).movedim(-1, 1)
    torch.testing.assert_close(generator(torch.from_numpy(VARIABLES["wg_z"])), expected, atol=1e-6, rtol=0)
    with pytest.raises(OfficialCheckpointError, match="of other shape"):
        load_official(network(channels=4), tmp_path / "model.npz")


@pytest.mark.parametrize(
    ("prefix", "network", "example"),
    [
        ("wd", WaveGANDiscriminator, 0.5 * uniform("x", (2, 16_384, 1))),
        ("sd", SpecGANDiscriminator, uniform("sx", (2, 128, 128, 1))),
    ],
)
@torch.no_grad()
def test_discriminators_equal_tensorflows(prefix, network, example, tmp_path):
    np.savez(tmp_path / "model.npz", **tensorflow_variables(prefix))
    discriminator = network(channels=8).eval()
    load_official(discriminator, tmp_path / "model.npz")
    ((logits,), _) = discriminator(torch.from_numpy(example).movedim(-1, 1))
    torch.testing.assert_close(logits[:, 0], torch.from_numpy(VARIABLES[f"{prefix}_out"]), atol=1e-6, rtol=0)


@torch.no_grad()
def test_dcgan_equals_pytorchs_example():
    reference = load_reference("dcgan_torch")
    generator, discriminator = DCGANGenerator(images=3).eval(), DCGANDiscriminator(images=3).eval()
    load_official(generator, official_state(reference["g_keys"]))
    load_official(discriminator, official_state(reference["d_keys"]))
    images = generator(reference["z"].flatten(1))
    torch.testing.assert_close(images, reference["g_out"].float(), atol=5e-4, rtol=0)  # stored with 16 bit
    torch.testing.assert_close(discriminator(reference["img"])[0][0].sigmoid()[:, 0], reference["d_out"])


def test_published_sizes():
    with torch.device("meta"):
        sizes = [size(network()) for network in NETWORKS]
        long = [size(network(layers=6)) for network in NETWORKS[:2]]
        images = [size(network(images=3)) for network in (DCGANGenerator, DCGANDiscriminator)]
    assert sizes == [19_065_345, 17_427_969, 19_065_345, 17_427_969]
    assert long == [73_149_953, 69_875_201]
    assert images == [3_576_704, 2_765_568]


def test_phase_shuffle_shifts_the_whole_batch_and_reflects():
    shuffle, hidden = PhaseShuffle(2), torch.arange(24.0).reshape(2, 1, 12)
    torch.manual_seed(0)
    seen = [shuffle(hidden) for _ in range(60)]
    row = hidden[0, 0].numpy()
    shifted = {s: np.pad(row, 2, mode="reflect")[2 - s : 14 - s].tolist() for s in range(-2, 3)}
    assert {tuple(out[0, 0].tolist()) for out in seen} == {tuple(row) for row in shifted.values()}
    assert all(torch.equal(out[1], out[0] + 12) for out in seen)
    assert shuffle.eval()(hidden) is hidden
    assert PhaseShuffle(0)(hidden) is hidden


def test_a_spectrogram_image_is_the_official_transform_and_comes_back_as_audio():
    torch.manual_seed(0)
    time = torch.arange(16_384) / 16_000
    tones = torch.stack([torch.sin(2 * torch.pi * f * time) for f in (440.0, 1000.0)])[:, None]
    audio = 0.3 * tones * torch.linspace(1, 0.1, 16_384) + 1e-3 * torch.randn(2, 1, 16_384)
    image = SpectrogramImage()
    padded = np.pad(audio[1, 0].numpy(), (0, 256))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(256) / 256)
    expected = [np.abs(np.fft.rfft(padded[k * 128 : k * 128 + 256] * window)) + 1e-6 for k in range(128)]
    np.testing.assert_allclose(image.log_magnitudes(audio)[1].exp().numpy(), expected, atol=1e-5)
    mean, power = image.moments(audio)
    image.mean.copy_(mean)
    image.deviation.copy_((power - mean.square()).sqrt())
    images = image(audio)
    assert images.shape == (2, 1, 128, 128)
    assert images.abs().max() <= 1
    assert images.square().mean().sqrt() == pytest.approx(1 / 3, abs=0.02)
    back = image.audio(images)
    assert back.shape == audio.shape
    errors = (image.log_magnitudes(back) - image.log_magnitudes(audio))[:, 2:-2, :40].abs()
    assert errors[image.log_magnitudes(audio)[:, 2:-2, :40] > 0].mean() < 0.2


class Tones(DataModule):
    """Batches of tones with their label."""

    sample_rate, segment = 16_000, 16_384

    def __init__(self, label="instrument"):
        super().__init__()
        self.label = label

    def train_dataloader(self):
        torch.manual_seed(3)
        audio = 0.1 * torch.randn(4, 1, self.segment)
        batch = {"audio": audio, "key": list("abcd"), self.label: torch.tensor([0, 1, 2, 0])}
        return torch.utils.data.DataLoader([batch] * 2, batch_size=None)

    def advance(self, batch):
        pass

    def held_out(self, split, clips=None):
        return iter(())


def train(system, data):
    trainer = L.Trainer(
        max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu",
    )  # fmt: skip
    trainer.fit(system, datamodule=data)


SYSTEMS = [
    (WaveGAN, {"channels": 2, "critic_steps": 2}),
    (SpecGAN, {"channels": 2, "critic_steps": 2}),
    (SpectrogramDCGAN, {"channels": 4}),
]


@pytest.mark.parametrize(("system", "values"), SYSTEMS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_system_trains_is_judged_and_is_heard(system, values):
    torch.manual_seed(0)
    made = system(label="instrument", num_classes=3, **values)
    before = {n: p.detach().clone() for n, p in made.named_parameters()}
    train(made, Tones())
    moved = {n for n, p in made.named_parameters() if not torch.equal(p, before[n])}
    assert {n.partition(".")[0] for n in moved} == {"generator", "discriminators"}
    assert any("label" in n for n in moved), "the discriminator is told of the label"
    made.eval()
    clip = {"audio": 0.1 * torch.randn(1, 1, 20_000), "key": ["a"], "instrument": torch.tensor([2])}
    out = made.clip(clip)
    assert out["fake"].shape == (1, 16_384)
    assert out["measures"]["energy_score"] > 0
    assert not out["reconstructs_input"]
    assert made.synthesize(made.batch_from_audio(torch.zeros(1, 1, 1000))).shape == (1, 1, 1000)
    if system is SpecGAN:
        assert made.image.mean.abs().min() > 0
        assert "image.mean" in made.state_dict()


def test_a_discriminator_from_the_shelf_judges_beside_one_that_is_told_the_label():
    class Both(WaveGAN):
        """With MelGAN's discriminator too."""

        def build_discriminators(self):
            return super().build_discriminators() | {"scales": MelGANDiscriminator(1, 4, 1)}

    system = Both(channels=2, label="instrument", num_classes=3)
    batch = next(iter(Tones().train_dataloader()))
    other = batch | {"instrument": torch.tensor([2, 2, 2, 2])}
    with torch.no_grad():
        system.discriminators["waveform"].label.weight.fill_(1.0)
        system.discriminators["waveform"].label.weight[:, 2] = 2.0
        system.eval()
        told, alone = (
            [system.discriminate(name, batch["audio"], given)[0][0] for given in (batch, other)]
            for name in ("waveform", "scales")
        )
    assert not torch.allclose(*told)
    assert torch.equal(*alone)


def test_what_does_not_fit_is_said_in_one_line():
    small = {"channels": 2}
    with pytest.raises(ValueError, match=r"makes 4096 samples, a segment has 16384: set --data\.segment 4096"):
        train(WaveGAN(layers=4, **small), Tones())
    with pytest.raises(ValueError, match=r"'pitch' of a clip, which the data does not give: set --data\.labels"):
        train(WaveGAN(label="pitch", num_classes=3, **small, critic_steps=1), Tones())
    with pytest.raises(ValueError, match=r"instrument \[0, 1, 2, 0\]: the networks have 2"):
        train(WaveGAN(label="instrument", num_classes=2, **small, critic_steps=1), Tones())
    with pytest.raises(ValueError, match="critic_steps = 5 does not divide"):
        train(WaveGAN(**small), Tones())
    with pytest.raises(ValueError, match="number of its classes is not known"):
        WaveGAN(label="instrument", **small)
    with pytest.raises(ValueError, match=r"64 mel bands in \[-1, 1\], ddsp_16k has others"):
        SpectrogramDCGAN(mel="ddsp_16k", **small)


def test_energy_score_is_its_definition_and_knows_the_true_distribution():
    system = SpectrogramDCGAN(channels=2)
    clip = {"audio": 0.1 * torch.randn(1, 1, 16_384), "key": ["a"]}
    made = 0.1 * torch.randn(4, 1, 16_384)
    system.synthesize = lambda batch: made
    mels = [system.front_end(audio[None]) for audio in (clip["audio"][0], *made)]

    def apart(i, j):
        return (mels[i] - mels[j]).square().mean().sqrt().item() * 13.5 / 2  # nepers

    expected = np.mean([apart(0, j) for j in range(1, 5)])
    expected -= np.mean([apart(i, j) for i in range(1, 5) for j in range(1, 5) if i != j]) / 2
    assert system.measure(clip)["energy_score"].item() == pytest.approx(expected, rel=1e-3)
    alike = system.measure(clip)["energy_score"]
    system.synthesize = lambda batch: made[:1].expand(4, 1, -1)
    same = system.measure(clip)["energy_score"]
    system.synthesize = lambda batch: 10 * made
    assert alike < min(same, system.measure(clip)["energy_score"]), "neither one example again nor another loudness"


def test_the_images_mel_is_that_of_loud_and_of_silent_audio():
    system = SpectrogramDCGAN(channels=2)
    loud = torch.sin(2 * math.pi * 1000 * torch.arange(16_384) / 16_000).view(1, 1, -1)
    assert system.example({"audio": torch.zeros(1, 1, 16_384)}).max() == -1
    assert 0.8 < system.example({"audio": loud}).max() <= 1
    assert preset(system.mel).limits == (-1.0, 1.0)
    back = system.render(system.example({"audio": loud}), {})
    assert (system.example({"audio": back}) - system.example({"audio": loud})).abs().mean() < 0.1


def test_pianorolls_are_images_whose_notes_are_played():
    system = PianorollDCGAN(channels=2, images=2, lowest=60, steps_per_minute=1200)
    roll = torch.zeros(1, 2, 64, 64)
    roll[0, 0, 3:7, 9] = roll[0, 0, 7:9, 10] = roll[0, 1, 60:, 0] = 1
    image = system.example({"pianoroll": roll})
    assert image.unique().tolist() == [-1, 1]
    soprano, bass = system.voices(image[0])
    assert soprano == [Note(3, 4, 69), Note(7, 2, 70)]
    assert bass == [Note(60, 4, 60)]
    batch = system.stand_in()
    assert torch.isfinite(system.training_losses(batch)["adversarial"])
    audio = system.render(image, batch)[0, 0]
    assert audio.shape == (round(64 * 60 / 1200 * 22_050),)
    assert audio[: round(2.9 / 20 * 22_050)].abs().max() < 1e-3 < audio[round(3.5 / 20 * 22_050) :].abs().max()
    assert system.pictures(image, image)["pianoroll"].size[0] > 64
    out = system.eval().clip({"pianoroll": roll, "key": ["a"]})
    assert out["real"].shape == out["fake"].shape
    assert torch.isfinite(out["measures"]["energy_score"])
