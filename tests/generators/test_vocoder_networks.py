"""Generators of vocoders against the numbers of their official implementations."""

import copy

import numpy as np
import pytest
import torch
from reference.weights import fill_tensor, load_reference, official_state

from framework.generators.bigvgan import BigVGANGenerator, SnakeBeta, low_pass
from framework.generators.hifigan import HiFiGANGenerator
from framework.generators.melgan import MelGANGenerator
from framework.generators.multi_band_melgan import MultiBandMelGANGenerator
from framework.generators.univnet import UnivNetGenerator, location_variable
from framework.inference.layers import remove_weight_norm
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


@torch.no_grad()
def test_bigvgan_equals_official():
    reference = load_reference("bigvgan_base")
    network = BigVGANGenerator()
    assert parameters(network) == 13_953_474
    state = official_state(reference["keys"])
    # The activations' logarithms were made a tenth of what their names say.
    activations = [name for name in state if name.endswith((".alpha", ".beta"))]
    state |= {name: 0.1 * fill_tensor(name, state[name].shape) for name in activations}
    load_official(network, {"generator": state})
    equal_to_rounding(network, (reference["mel"],), reference["out"])
    assert parameters(remove_weight_norm(network)) == 13_943_361


def equal_to_rounding(network, inputs, official):
    """Compare with official float32, of networks that double a rounding from layer to layer with such weights."""
    audio = network(*inputs)
    exact = copy.deepcopy(network).double()(*(x.double() for x in inputs)).float()
    rounded = (audio - exact).abs().max().item()
    assert rounded < 0.03
    torch.testing.assert_close(exact, official, atol=4 * rounded, rtol=0)
    assert (exact - official).abs().mean() < 1e-3 * official.abs().mean() + 1e-5


@pytest.mark.parametrize(
    ("build", "size"),
    [
        (lambda: BigVGANGenerator(100, 1536, (4, 4, 2, 2, 2, 2)), 112_446_290),
        (lambda: BigVGANGenerator(128, 1536, (8, 4, 2, 2, 2, 2), bounded=False), 122_184_529),
        (lambda: UnivNetGenerator(channels=32), 14_865_506),
    ],
)
def test_published_sizes(build, size):
    with torch.device("meta"):
        assert parameters(build()) == size


@torch.no_grad()
def test_activations_at_twice_the_rate_are_filtered_and_resampled_as_written_out():
    taps, ends = low_pass(12).double(), 40
    activation, signal = SnakeBeta(3).double(), torch.randn(2, 3, 50, dtype=torch.double)
    torch.nn.init.normal_(activation.alpha)
    torch.nn.init.normal_(activation.beta)
    for clip, channel in np.ndindex(2, 3):
        extended = np.pad(signal[clip, channel].numpy(), ends, mode="edge")
        doubled = np.zeros(2 * len(extended))
        doubled[::2] = extended
        doubled = np.convolve(doubled, 2 * taps.numpy())[2 * ends + 5 : 2 * ends + 5 + 100]
        a, b = activation.alpha[channel].exp().item(), activation.beta[channel].exp().item()
        bent = np.pad(doubled + np.sin(a * doubled) ** 2 / b, (5, 6), mode="edge")
        expected = np.convolve(bent, taps.numpy(), mode="valid")[::2]
        np.testing.assert_allclose(activation(signal)[clip, channel].numpy(), expected, atol=1e-6)


@torch.no_grad()
def test_univnet_equals_official():
    reference = load_reference("univnet_c16")
    network = UnivNetGenerator()
    assert parameters(network) == 3_997_426
    load_official(network, {"model_g": official_state(reference["keys"])})
    equal_to_rounding(network, (reference["mel"], reference["z"]), reference["out"])
    assert parameters(remove_weight_norm(network)) == 3_977_009
    assert network(reference["mel"][..., :4]).shape[-1] == 4 * network.hop_length
    with pytest.raises(ValueError, match="too few frames"):
        network(reference["mel"][..., :3])


@torch.no_grad()
def test_location_variable_convolution_is_a_convolution_for_each_frame():
    signal, kernels, biases = torch.randn(2, 4, 5 * 7), torch.randn(2, 5, 6, 4, 3), torch.randn(2, 5, 6, 1)
    made = location_variable(signal, kernels.flatten(3), biases)
    for frame in range(5):
        for clip in range(2):
            whole = torch.conv1d(signal[clip], kernels[clip, frame], biases[clip, frame, :, 0], padding=1)
            span = slice(frame * 7, frame * 7 + 7)
            torch.testing.assert_close(made[clip, :, span], whole[:, span], atol=1e-5, rtol=0)


@torch.no_grad()
def test_multi_band_melgan_equals_parallel_wavegans():
    reference = load_reference("pwg_mbmelgan_v2")
    network = MultiBandMelGANGenerator()
    load_official(network, {"model": {"generator": official_state(reference["keys"])}})
    equal_to_rounding(network.model, (reference["mel"],), reference["out"])
    equal_to_rounding(network, (reference["mel"],), reference["full"])


SMALL = [
    lambda: HiFiGANGenerator(4, 16, (8, 4), (16, 8)),
    lambda: HiFiGANGenerator(4, 16, (3, 2), (7, 4), residual_block=2, kernels=(3, 5), dilations=((1, 2), (2, 6))),
    lambda: HiFiGANGenerator(4, 16, (5,), (5,), fusion=False),
    lambda: MelGANGenerator(4, 4, (3, 2)),
    lambda: MelGANGenerator(4, 4, (4, 2), residual_blocks=2),
    lambda: MultiBandMelGANGenerator(4, 4, (3, 2), residual_blocks=2),
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
    for rate, kernel, needed in ((5, 4, "a kernel of at least 5, not 4"), (1, 4, "an odd kernel, not 4")):
        with pytest.raises(ValueError, match=f"upsampling by {rate} needs {needed}"):
            HiFiGANGenerator(upsample_rates=(rate,), upsample_kernels=(kernel,))
    with pytest.raises(ValueError, match="odd"):
        HiFiGANGenerator(kernels=(3, 7, 10))
    with pytest.raises(ValueError, match="kind 1 or 2"):
        HiFiGANGenerator(residual_block=3)
