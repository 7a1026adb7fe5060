"""Parallel WaveGAN's networks against the numbers of their official implementation, and its recipe."""

import pytest
import torch
from reference.weights import load_reference, official_state

from framework.discriminators.parallel_wavegan import ParallelWaveGANDiscriminator
from framework.export.exporting import export
from framework.generators.parallel_wavegan import ParallelWaveGAN, ParallelWaveGANGenerator
from framework.inference.layers import remove_weight_norm
from framework.runs.importers import load_official


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@torch.no_grad()
def test_the_generator_equals_the_official_one():
    reference = load_reference("pwg_v1")
    network = ParallelWaveGANGenerator()
    assert parameters(network) == 1_346_042
    load_official(network, {"model": {"generator": official_state(reference["g_keys"])}})
    for _ in range(2):
        audio = network(reference["mel"], reference["noise"])
        torch.testing.assert_close(audio, reference["out"], rtol=0, atol=1e-5)
        remove_weight_norm(network)


@torch.no_grad()
def test_the_discriminator_equals_the_official_one():
    reference = load_reference("pwg_v1")
    network = ParallelWaveGANDiscriminator()
    assert parameters(network) == 99_842
    load_official(network, official_state(reference["d_keys"]))
    (logits,), (features,) = network(reference["audio"])
    torch.testing.assert_close(logits, reference["logits"], rtol=0, atol=1e-5)
    assert [tuple(feature.shape) for feature in features] == [(1, 64, 400)] * 9


@torch.no_grad()
def test_audio_has_the_length_of_the_recording_and_follows_the_seed():
    system = ParallelWaveGAN(channels=4, layers=4, stacks=2).eval()
    batch = {"audio": 0.1 * torch.randn(1, 1, 5000)}
    torch.manual_seed(0)
    one = system.synthesize(batch)
    torch.manual_seed(0)
    assert torch.equal(one, system.synthesize(batch))
    assert one.shape == batch["audio"].shape
    assert not torch.equal(one, system.synthesize(batch))


def test_the_discriminator_learns_at_half_the_rate():
    system = ParallelWaveGAN(channels=4, layers=4, stacks=2)
    rates = {n: system.build_optimizer(n, m).param_groups[0]["lr"] for n, m in system.networks().items()}
    assert rates == {"generator": 1e-4, "discriminator": 5e-5}


def test_layers_that_are_no_whole_cycles_are_refused():
    with pytest.raises(ValueError, match="layers = 5: must be a multiple of 2"):
        ParallelWaveGANGenerator(layers=5, stacks=2)


def test_it_is_exported_with_its_noise_as_an_input(tmp_path):
    system = ParallelWaveGAN(channels=4, layers=4, stacks=2).eval()
    assert export(system, tmp_path / "small.pt2", "torch", {}).snr > 100
