"""Generators of HiFi-GAN and MelGAN against the numbers of their official implementations."""

import copy

import pytest
import torch
from reference.weights import load_reference, official_state

from framework.generators.hifigan import HiFiGANGenerator
from framework.generators.layers import remove_weight_norm
from framework.generators.melgan import MelGANGenerator
from framework.runs.importers import load_official

V3 = {
    "channels": 256,
    "upsample_rates": (8, 8, 4),
    "upsample_kernels": (16, 16, 8),
    "residual_block": 2,
    "kernels": (3, 5, 7),
    "dilations": ((1, 2), (2, 6), (3, 12)),
}


def parameters(network):
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "arguments", "trained", "folded"),
    [("hifigan_v1", {}, 13_936_130, 13_926_017), ("hifigan_v3", V3, 1_464_322, 1_462_273)],
)
@torch.no_grad()
def test_hifigan_equals_official_before_and_after_folding(name, arguments, trained, folded):
    reference = load_reference(name)
    network = HiFiGANGenerator(**arguments)
    assert parameters(network) == trained
    load_official(network, {"generator": official_state(reference["keys"])})
    # V1's own distance from the same computation in float64 is 1e-5.
    torch.testing.assert_close(network(reference["mel"]), reference["out"], atol=2e-5, rtol=0)
    remove_weight_norm(network)
    assert parameters(network) == folded
    assert not any("parametrizations" in name for name in network.state_dict())
    torch.testing.assert_close(network(reference["mel"]), reference["out"], atol=2e-5, rtol=0)


def test_hifigan_v2_has_the_official_size():
    network = HiFiGANGenerator(channels=128)
    assert parameters(network) == 928_514
    assert parameters(remove_weight_norm(network)) == 925_985


@torch.no_grad()
def test_melgan_equals_official():
    reference = load_reference("melgan_gen")
    network = MelGANGenerator()
    assert parameters(network) == 4_266_050
    load_official(network, official_state(reference["keys"]))
    audio = network(reference["mel"])
    # These weights drive the tanh to +-940, of which one float32 rounding is 6e-5 where it is not saturated.
    torch.testing.assert_close(audio, reference["out"], atol=2e-3, rtol=0)
    before, free = network.model[:-1](reference["mel"]), reference["out"].abs() < 0.99
    assert free.sum() > 5
    torch.testing.assert_close(before[free], reference["out"][free].atanh(), atol=1e-5 * 940, rtol=0)
    assert parameters(remove_weight_norm(network)) == 4_260_257
    torch.testing.assert_close(network(reference["mel"]), audio, atol=2e-3, rtol=0)


SMALL = [
    lambda: HiFiGANGenerator(4, 16, (8, 4), (16, 8)),
    lambda: HiFiGANGenerator(4, 16, (3, 2), (7, 4), residual_block=2, kernels=(3, 5), dilations=((1, 2), (2, 6))),
    lambda: HiFiGANGenerator(4, 16, (5,), (5,), fusion=False),
    lambda: MelGANGenerator(4, 4, (3, 2)),
    lambda: MelGANGenerator(4, 4, (4, 2), residual_blocks=2),
]


@pytest.mark.parametrize("build", SMALL)
def test_receptive_field_is_what_gradients_reach(build):
    network = build().double()
    frames = 2 * network.receptive_field + 1
    mel = torch.randn(1, 4, frames, dtype=torch.double, requires_grad=True)
    audio = network(mel)
    assert audio.shape == (1, 1, frames * network.hop_length)
    middle = frames // 2 * network.hop_length
    spans = []
    for sample in range(network.hop_length):
        (gradient,) = torch.autograd.grad(audio[0, 0, middle + sample], mel, retain_graph=True)
        touched = gradient[0].abs().sum(0).nonzero()
        spans.append((touched.max() - touched.min() + 1).item())
    assert max(spans) == network.receptive_field


def test_without_fusion_the_block_that_sees_furthest_is_kept():
    network = HiFiGANGenerator(**V3, fusion=False)
    assert [block.convs[1].dilation for block in network.resblocks] == [(12,)] * 3
    assert network.receptive_field == HiFiGANGenerator(**V3).receptive_field


def test_folding_keeps_the_weights_of_a_frozen_network_in_its_state():
    network = HiFiGANGenerator(4, 8, (2,), (4,)).requires_grad_(False)
    mel = torch.randn(1, 4, 9)
    folded = remove_weight_norm(copy.deepcopy(network))
    torch.testing.assert_close(folded(mel), network(mel))
    assert "conv_pre.weight" in folded.state_dict()


def test_lengths_that_would_not_come_out_are_refused():
    with pytest.raises(ValueError, match="upsampling by 5"):
        HiFiGANGenerator(upsample_rates=(5,), upsample_kernels=(10,))
    with pytest.raises(ValueError, match="odd"):
        HiFiGANGenerator(kernels=(3, 7, 10))
    with pytest.raises(ValueError, match="kind 1 or 2"):
        HiFiGANGenerator(residual_block=3)
