"""Compiled networks in pieces: PyTorch's numbers, the same bits for all lengths of pieces, and a way without them."""

import random

import numpy as np
import pytest
import torch
from torch import nn

from framework.generators.hifigan import HiFiGANGenerator
from framework.generators.melgan import MelGANGenerator
from framework.generators.multi_band_melgan import MultiBandMelGANGenerator
from framework.inference import compiled as streams
from framework.inference.compiled import compiled, minimal_filter
from framework.inference.incremental import Chain, Pointwise, Sum, incremental, run

SMALL = {"n_mels": 20, "channels": 36}
NETWORKS = {
    "v1": lambda: HiFiGANGenerator(**SMALL, upsample_rates=(8, 4), upsample_kernels=(16, 8)),
    "v3": lambda: HiFiGANGenerator(
        **SMALL,
        upsample_rates=(5, 3),
        upsample_kernels=(11, 9),
        residual_block=2,
        kernels=(3, 5),
        dilations=((1, 2), (2, 6)),
    ),
    "without_fusion": lambda: HiFiGANGenerator(**SMALL, upsample_rates=(4, 3), upsample_kernels=(4, 9), fusion=False),
    "melgan": lambda: MelGANGenerator(20, 10, upsample_rates=(8, 3, 2)),
    "multi_band": lambda: MultiBandMelGANGenerator(20, 16, upsample_rates=(8, 3), residual_blocks=2),
}


# Networks this small are not worth minimal filters: with them where they can be, and without.
WAYS = [(name, transform) for name in NETWORKS for transform in (streams.TRANSFORM, -100)]


@pytest.fixture(params=WAYS, ids=str)
def network(request, monkeypatch):
    torch.manual_seed(0)
    name, transform = request.param
    monkeypatch.setattr(streams, "TRANSFORM", transform)
    return NETWORKS[name]().eval()


def snr(reference, other):
    return float(10 * (reference.square().sum() / (reference - other).square().sum()).log10())


@torch.no_grad()
@pytest.mark.parametrize("frames", [5, 150])
def test_it_computes_what_the_network_does(network, frames):
    mel = 3 * torch.randn(2, 20, frames)
    audio = network.prepared()(mel)
    assert audio.shape == (2, 1, frames * network.hop_length)
    assert snr(network.double()(mel.double()), audio.double()) > 110


@torch.no_grad()
def test_pieces_of_any_length_and_any_number_of_threads_give_the_same_bits(network, monkeypatch):
    mel, draw = torch.randn(2, 20, 150), random.Random(0)
    whole = network.prepared()(mel)
    for longest, threads in ((1, 1), (9, 2), (70, 3)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert torch.equal(torch.cat(list(network.stream(cut(mel, draw, longest))), dim=-1), whole)


def cut(mel, draw, longest):
    """Yield pieces of random lengths, empty ones among them."""
    while mel.shape[-1]:
        length = draw.randint(0, longest)
        yield mel[..., :length]
        mel = mel[..., length:]


def test_streams_do_not_disturb_each_other(network):
    mels = torch.randn(2, 1, 20, 40)
    whole = [network.prepared()(mel) for mel in mels]
    streams = [network.stream(mel.split(7, dim=-1)) for mel in mels]
    parts = list(zip(*streams, strict=True))
    for index, audio in enumerate(whole):
        assert torch.equal(torch.cat([pair[index] for pair in parts], dim=-1), audio)


def test_another_number_of_channels_is_refused(network):
    with pytest.raises(ValueError, match="19 channels of float32; the network takes 20 channels"):
        network.prepared()(torch.randn(1, 19, 8))


@torch.no_grad()
@pytest.mark.parametrize(
    ("layer", "least"),
    [
        (nn.Conv1d(4, 4, 7, padding=1, dilation=2), 11),
        (nn.ConvTranspose1d(4, 4, 5, padding=4), 5),
        (nn.ConvTranspose1d(4, 4, 6, stride=2, padding=4, output_padding=1), 2),
        (nn.Sequential(nn.ReflectionPad1d(2), nn.Conv1d(4, 4, 5)), 3),
    ],
    ids=str,
)
def test_what_a_layer_needs_is_what_pytorch_says(layer, least):
    network = nn.Sequential(layer, nn.Conv1d(4, 4, 3, padding=2))
    for samples in range(1, least + 2):
        signal = torch.randn(1, 4, samples)
        for begin in (lambda: incremental(network), compiled(network).begin):
            pieces = run(begin(), signal.split(1, dim=-1))
            if samples < least:
                with pytest.raises(RuntimeError):
                    network(signal)
                with pytest.raises(ValueError, match=f"at least {least} of its input, not {samples};"):
                    list(pieces)
            else:
                torch.testing.assert_close(torch.cat(list(pieces), dim=-1), network(signal))


@torch.no_grad()
@pytest.mark.parametrize("native", ["1", "0"])
def test_what_is_too_short_to_be_reflected_is_refused(native, monkeypatch):
    monkeypatch.setenv("OSTINATO_NATIVE", native)
    network = NETWORKS["melgan"]().eval()
    for frames in (1, 2, 3):
        mel = torch.randn(2, 20, frames)
        for pieces in (frames, 1):
            with pytest.raises(ValueError, match=f"too few frames: .* at least 4 of its input, not {frames};"):
                list(network.stream(mel.split(pieces, dim=-1)))
        with pytest.raises(ValueError, match="too few frames"):
            network.prepared()(mel)
    mel = torch.randn(2, 20, 4)
    assert snr(network(mel), network.prepared()(mel)) > 100
    assert snr(network(mel), torch.cat(list(network.stream(mel.split(1, dim=-1))), dim=-1)) > 100


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(4, 4, 3, groups=2),
        nn.Sequential(nn.Conv1d(4, 4, 3), nn.LeakyReLU(), nn.Tanh()),
        nn.Sequential(nn.Conv1d(4, 4, 3), nn.LeakyReLU()),
        nn.Sequential(nn.LeakyReLU(2.0), nn.Conv1d(4, 4, 3)),
        nn.Sequential(nn.Conv1d(4, 4, 3), nn.Tanh(), nn.Tanh()),
        nn.Conv1d(4, 4, 3).double(),
        nn.Sequential(nn.ReflectionPad1d(1), nn.Conv1d(4, 4, 3, padding=1)),
        nn.Identity(),
        nn.Sequential(nn.ReflectionPad1d(2), nn.Conv1d(4, 4, 3)),
        nn.Sequential(nn.ReflectionPad1d(1), nn.ConvTranspose1d(4, 4, 4, stride=2)),
        nn.Sequential(nn.ReflectionPad1d(1), nn.ReflectionPad1d(1), nn.Conv1d(4, 4, 5)),
        nn.Sequential(nn.LeakyReLU(0.1), nn.LeakyReLU(0.5), nn.Conv1d(4, 4, 3)),
    ],
    ids=str,
)
def test_what_is_not_known_is_left_to_pytorch(layer):
    assert compiled(layer) is None


class SquashedSum(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(4, 4, 3, padding=1)

    def forward(self, hidden):
        return (hidden + self.conv(hidden)).tanh()

    def incremental(self):
        return Chain(Sum(Pointwise(nn.Identity()), incremental(self.conv)), Pointwise(nn.Tanh()))


def test_tanh_behind_a_sum_is_not_lost():
    assert compiled(SquashedSum()) is None


class Quieter(HiFiGANGenerator):
    def forward(self, mel):
        return super().forward(mel) / 2


def test_so_is_a_network_that_extends_one_to_compute_something_else():
    network, mel = Quieter(**SMALL, upsample_rates=(4, 3), upsample_kernels=(4, 9)), torch.randn(1, 20, 9)
    assert compiled(network) is None
    with torch.no_grad():
        assert snr(network(mel), network.prepared()(mel)) > 100
        (audio,) = network.stream(mel.split(4, dim=-1))
        assert snr(network(mel), audio) > 100


def test_so_is_everything_under_autocast_and_without_a_compiler(network, monkeypatch):
    assert compiled(network) is not None
    with torch.autocast("cpu", torch.bfloat16):
        assert compiled(network) is None
    monkeypatch.setenv("OSTINATO_NATIVE", "0")
    assert compiled(network) is None
    assert network.prepared() is network.channels_last()


@torch.no_grad()
def test_one_convolution_of_many_channels_and_few_samples():
    torch.manual_seed(0)
    for channels, kernel, time in ((3, 1, 1), (130, 7, 5), (8, 12, 1000)):
        layer = nn.Conv1d(channels, 2 * channels + 1, kernel, bias=False, padding=kernel // 2)
        signal = torch.randn(1, channels, time)
        (audio,) = run(compiled(layer).begin(), [signal])
        assert snr(layer(signal), audio) > 110


@pytest.mark.parametrize("step", [2, 3, 4])
def test_a_minimal_filter_is_a_filter(step):
    generator = np.random.default_rng(0)
    analysis, kernels, synthesis = minimal_filter(step)
    inputs, taps = generator.standard_normal(2 * step - 1), generator.standard_normal(step)
    found = synthesis @ ((kernels @ taps) * (analysis @ inputs))
    np.testing.assert_allclose(found, np.correlate(inputs, taps), rtol=1e-9)


@torch.no_grad()
@pytest.mark.parametrize("dilation", [3, 12, 100])
def test_wide_convolutions_are_filtered_minimally_and_differ_by_rounding_alone(dilation):
    torch.manual_seed(0)
    layer = nn.Conv1d(128, 70, 7, padding=3 * dilation, dilation=dilation)
    assert compiled(layer).layers[0].analysis
    signal = torch.randn(1, 128, 700)
    (audio,) = run(compiled(layer).begin(), [signal])
    assert snr(layer.double()(signal.double()), audio.double()) > 110
