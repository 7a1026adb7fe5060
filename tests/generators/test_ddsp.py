"""DDSP's networks against official numbers and sizes; its conditioning and timbre transfer."""

import lightning as L
import numpy as np
import pytest
import torch
from reference.weights import load_reference, official_state
from torch.nn.functional import pad

from datamodules.stems import BachStems
from framework.data_module import DataModule
from framework.generators.ddsp import networks as ddsp_networks
from framework.generators.ddsp.networks import DDSPNetwork, DDSPPyTorchNetwork
from framework.generators.ddsp.system import DDSP, DDSPPyTorch, held_pitch, matched_loudness
from framework.runs.importers import load_official


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


def test_published_sizes():
    solo = DDSPNetwork()
    assert parameters(solo.decoder) == 4_801_150
    assert parameters(solo) == 4_849_150
    autoencoder = DDSPNetwork(harmonics=100, latent_dim=16, reverb_length=0)
    assert parameters(autoencoder.decoder) == 6_407_334
    assert parameters(autoencoder.encoder) == 843_852
    assert parameters(DDSPNetwork(layers=0, units=256).decoder) == 232_314
    assert parameters(DDSPPyTorchNetwork()) == 3_785_000


def cut_filter_blocks(noise, magnitudes):
    """ddsp_pytorch's noise, which cuts filters that are longer than a block; ours refuses them."""
    batch, frames, bands = magnitudes.shape
    hop = noise.shape[-1] // frames
    taps = 2 * (bands - 1)
    response = torch.fft.irfft(magnitudes + 0j).roll(taps // 2, -1) * torch.hann_window(taps)
    response = pad(response, (0, hop - taps)).roll(-(taps // 2), -1)
    blocks = noise.reshape(batch, frames, hop).double().numpy()
    made = [
        [np.convolve(b, r)[:hop] for b, r in zip(*clip, strict=True)] for clip in zip(blocks, response, strict=True)
    ]
    return torch.from_numpy(np.array(made)).float().reshape(noise.shape)


@torch.no_grad()
def test_an_official_ddsp_pytorch_checkpoint_gives_the_official_audio(monkeypatch, tmp_path):
    reference = load_reference("ddsp_pytorch")
    config = reference["cfg"]
    network = DDSPPyTorchNetwork(
        config["sampling_rate"],
        config["block_size"],
        config["n_harmonic"],
        config["n_bands"],
        config["hidden_size"],
        units=config["hidden_size"],
        reverb_length=config["sampling_rate"],
    )
    assert len(reference["keys"]) == 52
    torch.save(official_state(reference["keys"]), tmp_path / "state.pth")
    load_official(network, tmp_path / "state.pth")
    monkeypatch.setattr(ddsp_networks, "filter_blocks", cut_filter_blocks)
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: reference["rand"].reshape(shape))
    audio = network({"f0": reference["pitch"][..., 0], "loudness": reference["loudness"][..., 0]})
    # The official phase is accumulated in float32.
    torch.testing.assert_close(audio.mT, reference["out"], atol=1e-4, rtol=0)


@torch.no_grad()
def test_magentas_decoder_is_kerass():
    """Dense layers, layer norm, leaky ReLU and a GRU with `reset_after`, written out with weights in Keras's layout."""
    network = DDSPNetwork(harmonics=7, noise_bands=5, width=6, layers=2, units=4, reverb_length=0).double()
    for parameter in network.parameters():
        parameter.normal_()
    decoder = network.decoder
    loudness, f0 = torch.rand(2, 9) * -80, torch.rand(2, 9) * 400 + 100

    def stack(layers, x):
        for dense, norm, _ in zip(layers[::3], layers[1::3], layers[2::3], strict=True):
            x = x @ dense.weight.numpy().T + dense.bias.numpy()
            mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
            x = (x - mean) / np.sqrt(variance + 1e-3) * norm.weight.numpy() + norm.bias.numpy()
            x = np.where(x > 0, x, 0.2 * x)
        return x

    def keras(weight):
        r, z, n = weight.numpy().reshape(3, 4, -1)
        return np.concatenate([z, r, n]).T

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    kernel, recurrent = keras(decoder.rnn.weight_ih_l0), keras(decoder.rnn.weight_hh_l0)
    bias = keras(decoder.rnn.bias_ih_l0), keras(decoder.rnn.bias_hh_l0)
    inputs = [loudness.double().numpy() / 80 + 1, (69 + 12 * np.log2(f0.double().numpy() / 440)) / 127]
    hidden = [stack(layers, x[..., None]) for layers, x in zip(decoder.input_stacks, inputs, strict=True)]
    state, states = np.zeros((2, 4)), []
    for x in np.concatenate(hidden, -1).swapaxes(0, 1):
        given, kept = np.split(x @ kernel + bias[0], 3, -1), np.split(state @ recurrent + bias[1], 3, -1)
        z, r = sigmoid(given[0] + kept[0]), sigmoid(given[1] + kept[1])
        state = z * state + (1 - z) * np.tanh(given[2] + r * kept[2])
        states.append(state)
    last = stack(decoder.out_stack, np.concatenate([*hidden, np.stack(states, 1)], -1))
    output = last @ decoder.dense_out.weight.numpy().T + decoder.dense_out.bias.numpy()
    amplitude, distribution, noise = np.split(output, [1, 8], -1)
    controls = network.controls({"f0": f0.double(), "loudness": loudness.double()})

    def amplitudes(x):
        return 2 * sigmoid(x) ** np.log(10) + 1e-7

    distribution = amplitudes(distribution)
    np.testing.assert_allclose(controls.amplitude.numpy(), amplitudes(amplitude), atol=1e-6)
    np.testing.assert_allclose(controls.distribution, distribution / distribution.sum(-1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(controls.noise.numpy(), amplitudes(noise - 5), atol=1e-6)


class Small(DDSP):
    data = BachStems
    width = 16
    layers = 1
    units = 16
    harmonics = 20
    reverb_length = 400


def tone(hertz, decibels, seconds=1.0):
    time = torch.arange(int(16000 * seconds)) / 16000
    return 10 ** (decibels / 20) * torch.sin(2 * torch.pi * hertz * time)[None, None]


def test_a_sawtooth_is_learnt():
    """Loss falls and the harmonics come out: the gradient goes through room, oscillators and noise to the network."""
    torch.manual_seed(0)
    system = Small(spectral_sizes=(1024, 256))
    time = torch.arange(4096) / 16000
    audio = sum(0.3 / h * torch.sin(2 * torch.pi * 220 * h * time) for h in range(1, 11)) + 1e-3 * torch.randn(
        1, 1, 4096
    )
    batch = {"audio": audio, "f0": torch.full((1, 64), 220.0)}
    optimizer = torch.optim.Adam(system.generator.parameters(), 2e-2)
    losses = []
    for _ in range(40):
        loss = system.training_losses(batch)["spectral"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    distribution = system.generator.controls(system.condition(batch)).distribution[0, 32].detach()
    assert distribution[:10].sum() > 0.98
    assert distribution[0] > distribution[2] > distribution[4] > distribution[8]


@pytest.mark.parametrize("kind", [Small, type("SmallZ", (Small,), {"latent_dim": 3, "__module__": __name__})])
def test_synthesis_is_as_long_as_the_audio_and_silent_for_silence(kind):
    system = kind()
    audio = tone(440, -20)[..., :10_001]
    batch = {"audio": audio, "f0": torch.full((1, 157), 440.0)}
    assert system.synthesize(batch).shape == audio.shape
    for f0 in (0.0, 440.0):
        silent = system.synthesize({"audio": torch.zeros_like(audio), "f0": torch.full((1, 157), f0)})
        assert silent.isfinite().all()
    system.training_losses({"audio": torch.zeros(1, 1, 6400), "f0": torch.zeros(1, 100)})["spectral"].backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in system.generator.parameters())


@pytest.mark.parametrize("layers", [0, 1])
def test_without_a_pitch_there_are_no_harmonics(layers):
    system = Small(noise_bands=0, reverb_length=0, layers=layers)
    assert system.synthesize({"audio": tone(440, -20), "f0": torch.full((1, 250), 440.0)}).any()
    assert not system.synthesize({"audio": tone(440, -20), "f0": torch.zeros(1, 250)}).any()


def test_pitch_is_held_where_there_is_none():
    f0 = torch.tensor([[0, 0, 200, 0, 0, 300, 0], [0.0] * 7])
    assert held_pitch(f0).tolist() == [[200, 200, 200, 200, 200, 300, 300], [0.0] * 7]


def test_loudness_is_matched_and_silence_stays():
    decibels = torch.cat(
        [torch.full((1, 50), -80.0), torch.linspace(-60, -40, 200)[None], torch.full((1, 10), -79.0)], 1
    )
    voiced = torch.zeros(1, 260, dtype=torch.bool)
    voiced[:, 50:250] = True
    matched = matched_loudness(decibels, voiced, -25.0, 4.0, -79.999)
    assert matched[0, 50:250].mean().item() == pytest.approx(-25, abs=0.1)
    assert matched[0, 50:250].std().item() == pytest.approx(4, abs=0.1)
    assert matched[0, :50].max() < -79.9
    assert matched[0, 250:].max() < -77
    assert (matched[0, 50:250].diff() > 0).all()
    for quiet in (torch.full((1, 260), -80.0), decibels):
        assert torch.equal(matched_loudness(quiet, torch.zeros_like(voiced), -25.0, 4.0, -79.999), quiet)
    steady = matched_loudness(torch.full((1, 260), -50.0), voiced, -25.0, 4.0, -79.999)
    torch.testing.assert_close(steady, torch.full((1, 260), -25.0))


def trained(system, data, steps=2):
    trainer = L.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(system, datamodule=data)
    return system


class Tones(DataModule):
    """One tone whose first half is a rest."""

    sample_rate = 16000
    f0_hop = 64
    segment = 8192

    def train_dataloader(self):
        audio = torch.cat([torch.zeros(1, 4096), tone(330, -20)[0, :, :4096]], 1)
        f0 = torch.cat([torch.zeros(64), torch.full((64,), 330.0)])
        return torch.utils.data.DataLoader([{"audio": audio, "f0": f0, "key": "tone"}] * 2)

    def advance(self, batch):
        pass

    def held_out(self, split, clips=None):
        return iter(())


def test_training_takes_note_of_the_loudness_and_a_recording_is_brought_to_it(monkeypatch, tmp_path):
    system = trained(Small(), Tones())
    count, total, squares = system.loudness_moments.tolist()
    assert count == 2 * 64
    mean = total / count
    monkeypatch.setattr("framework.generators.ddsp.system.track_pitch", lambda *_: torch.full((1, 250), 200.0))
    quiet = tone(200, -40)
    batch = system.batch_from_audio(quiet)
    assert batch["loudness"].mean().item() == pytest.approx(mean, abs=1)
    again = Small(match_loudness=False, pitch_shift=12.0)
    again.load_state_dict(system.state_dict())
    assert again.loudness_moments.tolist() == [count, total, squares]
    batch = again.batch_from_audio(quiet)
    torch.testing.assert_close(batch["loudness"], again.loudness(quiet)[:, :250])
    assert (batch["f0"] == 400).all()
    assert system.synthesize(system.batch_from_audio(torch.zeros(1, 1, 16000))).isfinite().all()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"f0_hop": 0}, "--data.f0_hop 64"),
        ({"segment": 8000 + 1}, "--data.segment 8064"),
        ({"sample_rate": 22050}, "the data has 22050 Hz"),
    ],
)
def test_data_that_do_not_fit_are_refused(wrong, message):
    data = Tones()
    for name, value in wrong.items():
        setattr(data, name, value)
    with pytest.raises(ValueError, match=message):
        trained(Small(), data)


def test_data_without_a_pitch_is_refused():
    with pytest.raises(ValueError, match="needs the pitch of its audio"):
        Small().condition({"audio": torch.zeros(1, 1, 6400)})


class SmallPort(DDSPPyTorch):
    data = BachStems
    width = 8
    units = 6


@pytest.mark.parametrize("changes", [{}, {"layers": 0, "noise_bands": 0, "reverb_length": 0, "harmonics": 1}])
def test_the_port_trains_with_its_own_loudness(changes):
    system = SmallPort(**changes)
    batch = {"audio": tone(300, -10)[..., :16_000], "f0": torch.full((1, 100), 300.0)}
    assert system.synthesize(batch).shape == (1, 1, 16_000)
    system.training_losses(batch)["spectral"].backward()
    assert all(p.grad.isfinite().all() for p in system.generator.parameters())
    assert system.condition(batch)["loudness"].shape == (1, 100)
    with pytest.raises(ValueError, match="no encoder"):
        SmallPort(latent_dim=16)
