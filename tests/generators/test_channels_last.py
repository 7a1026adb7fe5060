"""Vocoders with channels innermost in memory: the same audio, and never that of old weights."""

import pytest
import torch
from torch import nn

from framework.generators.hifigan import HiFiGANGenerator
from framework.generators.melgan import MelGANGenerator
from framework.generators.multi_band_melgan import MultiBandMelGANGenerator
from framework.inference.channels_last import Vocoder
from framework.inference.incremental import incremental

NETWORKS = {
    "hifigan": lambda: HiFiGANGenerator(20, 32, upsample_rates=(8, 3), upsample_kernels=(16, 9)),
    "melgan": lambda: MelGANGenerator(20, 8, upsample_rates=(8, 3, 2)),
    "multi_band": lambda: MultiBandMelGANGenerator(20, 8, upsample_rates=(8, 3), residual_blocks=2),
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


def test_what_inference_mode_makes_serves_outside_of_it_too(network):
    mel = torch.randn(1, 20, 9)
    with torch.inference_mode():
        inside = network.channels_last()(mel)
    with torch.no_grad():
        assert torch.equal(network.channels_last()(mel), inside)
    with torch.inference_mode():
        assert torch.equal(network.channels_last()(mel), inside)


@torch.no_grad()
def test_it_follows_the_networks_type(network):
    mel = torch.randn(1, 20, 9)
    network.channels_last()
    for kind in (torch.float64, torch.float32):
        given = mel.to(kind)
        audio = network.to(kind)(given)
        pieces = torch.cat(list(network.stream(given.split(4, dim=-1))), dim=-1)
        for made in (network.prepared()(given), network.channels_last()(given), pieces):
            assert made.dtype == kind
            assert snr(audio, made) > (250 if kind == torch.float64 else 100)


class Causal(nn.Conv1d):
    def forward(self, hidden):
        return super().forward(nn.functional.pad(hidden, (2, 0)))


class Residual(nn.Sequential):
    def forward(self, hidden):
        return hidden + super().forward(hidden)


LAYERS = [
    nn.Conv1d(4, 4, 3, padding=1, padding_mode="reflect"),
    nn.Conv1d(4, 4, 4, padding="same", padding_mode="circular"),
    nn.Conv1d(4, 4, 4, padding="same", dilation=2),
    nn.Conv1d(4, 4, 4, padding="valid"),
    nn.Conv1d(4, 4, 4, stride=2, padding=1),
    nn.ReflectionPad1d((2, 1)),
    nn.ConvTranspose1d(4, 6, 4, stride=2, groups=2),
    nn.ConvTranspose1d(4, 6, 3, stride=2, dilation=2),
    nn.ConvTranspose1d(4, 6, 2, stride=3),
    nn.ConvTranspose1d(4, 6, 4, stride=2, output_padding=1),
    nn.ConvTranspose1d(4, 6, 4, stride=2, padding=3),
    Causal(4, 4, 3),
    Residual(nn.Conv1d(4, 4, 3, padding=1)),
    nn.utils.parametrizations.weight_norm(Causal(4, 4, 3)),
]


class Single(Vocoder):
    """A layer behind another."""

    def __init__(self, layer):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(4, 4, 3, padding=1), nn.LeakyReLU(0.1), layer)

    def forward(self, mel):
        return self.layers(mel)

    def incremental(self):
        return incremental(self.layers)


@torch.no_grad()
@pytest.mark.parametrize("native", ["1", "0"])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_layers_that_are_none_of_a_stream_are_those_of_the_whole(layer, native, monkeypatch):
    monkeypatch.setenv("OSTINATO_NATIVE", native)
    torch.manual_seed(0)
    network, mel = Single(layer).eval(), torch.randn(2, 4, 21)
    with pytest.raises(TypeError, match="does not support input in pieces"):
        incremental(layer)
    for audio in (network.prepared()(mel), *network.stream(mel.split(5, dim=-1))):
        torch.testing.assert_close(audio, network(mel), rtol=0, atol=1e-5)
