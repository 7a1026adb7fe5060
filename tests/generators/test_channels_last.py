"""Vocoders with channels innermost in memory: the same audio, and never that of old weights."""

import pytest
import torch

from framework.generators.hifigan import HiFiGANGenerator
from framework.generators.melgan import MelGANGenerator

NETWORKS = {
    "hifigan": lambda: HiFiGANGenerator(20, 32, upsample_rates=(8, 3), upsample_kernels=(16, 9)),
    "melgan": lambda: MelGANGenerator(20, 8, upsample_rates=(8, 3, 2)),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    return NETWORKS[request.param]().eval()


def snr(reference, other):
    return float(10 * (reference.square().sum() / (reference - other).square().sum()).log10())


@torch.no_grad()
def test_the_audio_is_the_networks_own(network):
    mel = torch.randn(2, 20, 37)
    prepared = network.channels_last()
    assert prepared(mel).shape == (2, 1, 37 * network.hop_length)
    assert snr(network(mel), prepared(mel)) > 100
    assert not any(parameter.requires_grad for parameter in prepared.parameters())


@pytest.mark.parametrize("way", ["prepared", "channels_last"])
def test_it_has_the_weights_of_the_moment(network, way):
    mel = torch.randn(1, 20, 9)
    before = getattr(network, way)()(mel)
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2, fused=True)
    network(mel).square().mean().backward()
    optimizer.step()
    with torch.no_grad():
        assert snr(network(mel), getattr(network, way)()(mel)) > 100
        assert snr(before, getattr(network, way)()(mel)) < 60
