"""DiffWave against the numbers of its official implementation."""

import pytest
import torch
from reference.weights import load_reference, official_state

from framework.generators.diffwave import DiffWave, DiffWaveNetwork, MelUpsampler, UnconditionalDiffWave
from framework.runs.importers import load_official


def size(network):
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def test_base_equals_official_at_whole_and_fractional_levels():
    reference = load_reference("diffwave_base")
    network = DiffWaveNetwork(50)
    load_official(network, {"step": 0, "model": official_state(reference["keys"]), "params": {}})
    noisy, mel = reference["x"].unsqueeze(1), reference["spec"]
    torch.testing.assert_close(network(noisy, reference["t"], mel), reference["out"], atol=1e-5, rtol=0)
    between = torch.full((len(noisy),), 2.5)
    torch.testing.assert_close(network(noisy, between, mel), reference["out_t2p5"], atol=1e-5, rtol=0)


def test_published_sizes():
    assert size(DiffWaveNetwork(50)) == 2_619_971
    assert size(DiffWaveNetwork(200, channels=128)) == 6_885_315
    assert size(DiffWaveNetwork(50, n_mels=0)) == 2_308_737
    assert size(DiffWaveNetwork(200, channels=256, layers=36, cycle=12, n_mels=0)) == 24_034_305


def test_receptive_field_is_what_the_gradient_sees():
    network = DiffWaveNetwork(4, channels=4, layers=4, cycle=3, n_mels=0)
    torch.nn.init.normal_(network.output_projection.weight)
    noisy = torch.randn(1, 1, 101, requires_grad=True)
    network(noisy, torch.tensor([1.0]))[0, 0, 50].backward()
    seen = noisy.grad[0, 0].nonzero().flatten()
    assert seen.max() - seen.min() + 1 == network.receptive_samples


def test_labels_choose_and_are_checked():
    system = UnconditionalDiffWave(label="instrument", num_classes=3, channels=4, layers=2, synthesized_label=2)
    torch.nn.init.normal_(system.generator.output_projection.weight)
    noisy, timesteps = torch.randn(1, 1, 64), torch.tensor([3.0])
    outputs = [system.generator(noisy, timesteps, labels=torch.tensor([label])) for label in (0, 1)]
    assert not torch.allclose(*outputs)
    assert system.batch_from_audio(torch.zeros(1, 1, 64))["instrument"].tolist() == [2]
    with pytest.raises(ValueError, match=r"instrument \[3\]: the networks have 3"):
        system.condition({"instrument": torch.tensor([3])})


def test_audio_of_any_length_comes_out():
    system = UnconditionalDiffWave(channels=4, layers=2)
    for time in (0, 1, 300):
        assert system.synthesize({"audio": torch.zeros(2, 1, time)}).shape == (2, 1, time)


def test_clips_of_any_length_are_measured():
    system = DiffWave(channels=4, layers=2)
    clip = {"audio": 0.1 * torch.randn(1, 1, 3000)}
    assert torch.isfinite(system.measure(clip)["loss"])
    assert system.synthesize(clip).shape == (1, 1, 3000)


@torch.no_grad()
def test_an_odd_scale_gives_whole_hops():
    assert MelUpsampler((15, 20))(torch.randn(1, 3, 8)).shape == (1, 3, 8 * 15 * 20)


def test_a_mel_of_another_hop_is_refused():
    with pytest.raises(ValueError, match="256 samples per frame, the mel front end bigvgan_44k has 512"):
        DiffWave(mel="bigvgan_44k", channels=4, layers=1)
