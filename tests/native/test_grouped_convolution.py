"""The compiled grouped convolution against PyTorch's, in float64 where it matters."""

import copy

import pytest
import torch
from torch.nn.functional import conv1d

from framework.discriminators.multi_scale import MultiScaleDiscriminator
from framework.losses.adversarial import WassersteinGP
from framework.native import build as native
from framework.native import grouped_convolution
from framework.native.grouped_convolution import GroupedConv1d, convolve

# Channels, outputs, taps, stride, padding, groups, time, batch: HiFi-GAN's ratios, and what fits no block evenly.
SHAPES = [
    (64, 64, 41, 2, 20, 2, 301, 2),
    (32, 64, 41, 4, 20, 4, 1000, 3),
    (32, 48, 5, 1, 2, 2, 33, 1),
    (16, 16, 7, 3, 0, 2, 50, 2),
    (128, 256, 41, 1, 20, 4, 9, 1),
    (16, 16, 3, 5, 1, 2, 17, 2),
    # Long enough for matrices of windows, with windows left over at the end and samples that none of them reads.
    (16, 32, 5, 3, 2, 2, 151, 2),
]


@pytest.fixture
def compiled():
    if native.library("grouped_convolution") is None:
        pytest.skip("there is no compiler")


def layer(channels, outputs, taps, stride, padding, groups):
    return GroupedConv1d(channels, outputs, taps, stride=stride, padding=padding, groups=groups)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("threads", [0, 1, 3])
def test_equals_pytorch_and_so_do_its_gradients(compiled, shape, threads, monkeypatch):
    *arguments, time, batch = shape
    if threads:
        monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    torch.manual_seed(0)
    conv = layer(*arguments)
    inputs = [torch.randn(batch, shape[0], time), conv.weight.detach(), conv.bias.detach()]
    inputs = [tensor.clone().requires_grad_() for tensor in inputs]
    doubled = [tensor.detach().double().requires_grad_() for tensor in inputs]
    # Without the compiled code for no threads.
    own = convolve(*inputs, *arguments[3:], threads > 0)
    exact = conv1d(*doubled, stride=shape[3], padding=shape[4], groups=shape[5])
    assert own.is_contiguous()
    upper = torch.randn_like(own)
    gradients = torch.autograd.grad(own, inputs, upper)
    expected = torch.autograd.grad(exact, doubled, upper.double())
    for found, right in zip((own, *gradients), (exact, *expected), strict=True):
        assert (found - right).norm() < 1e-5 * right.norm()


def test_autocast_keeps_to_float32_where_tiles_are_not_multiplied(compiled, monkeypatch):
    monkeypatch.setattr(grouped_convolution, "multiplies_tiles", lambda: False)
    conv, hidden = layer(16, 16, 5, 1, 2, 2), torch.randn(1, 16, 20).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(hidden)
    assert torch.equal(found, conv(hidden.detach().float()))
    found.sum().backward()
    assert hidden.grad.any()
    monkeypatch.setattr(grouped_convolution, "multiplies_tiles", lambda: True)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(conv(hidden), torch.nn.Conv1d.forward(conv, hidden))


def test_a_frozen_weight_and_an_input_that_is_given_have_no_gradient(compiled):
    conv, hidden = layer(16, 16, 5, 1, 2, 2), torch.randn(1, 16, 20)
    conv(hidden).sum().backward()
    assert hidden.grad is None
    before = conv.weight.grad.clone()
    conv.requires_grad_(False)
    conv(hidden.requires_grad_()).sum().backward()
    assert hidden.grad.any()
    assert torch.equal(conv.weight.grad, before)


def test_discriminators_and_gradient_penalties_are_the_same_with_and_without_it(compiled, monkeypatch):
    torch.manual_seed(0)
    network = MultiScaleDiscriminator(2, (16, 32, 32, 64, 64, 64, 16), (1, 2, 2, 4, 4, 2, 1))
    audio, results = torch.randn(2, 1, 1000), []
    for value in ("1", "0"):
        monkeypatch.setenv("OSTINATO_NATIVE", value)
        own = copy.deepcopy(network)
        torch.manual_seed(1)
        logits, features = own(audio)
        penalty = WassersteinGP().penalty(own, audio, -audio)
        (sum(t.square().mean() for t in logits) + penalty).backward()
        gradients = torch.cat([p.grad.flatten() for p in own.parameters()])
        results.append([penalty, gradients, *logits, *(m for maps in features for m in maps)])
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_autocast_without_a_compiler_is_pytorchs(monkeypatch):
    monkeypatch.setenv("OSTINATO_NATIVE", "0")
    conv, hidden = layer(16, 16, 5, 2, 2, 2), torch.randn(2, 16, 101)
    with torch.autocast("cpu", torch.bfloat16):
        found = conv(hidden)
        assert found.dtype == torch.bfloat16
        found.square().mean().backward()
    assert conv.weight.grad.any()


@pytest.mark.parametrize("change", ["float64", "reflect", "odd channels"])
def test_what_it_does_not_serve_is_pytorchs(change, monkeypatch):
    conv, hidden = layer(16, 16, 5, 1, 2, 2), torch.randn(1, 16, 20)
    if change == "float64":
        conv, hidden = conv.double(), hidden.double()
    elif change == "reflect":
        conv = GroupedConv1d(16, 16, 5, padding=2, groups=2, padding_mode="reflect")
    elif change == "odd channels":
        conv, hidden = layer(12, 16, 5, 1, 2, 4), torch.randn(1, 12, 20)
    expected = torch.nn.Conv1d.forward(conv, hidden)
    monkeypatch.setattr("framework.native.grouped_convolution.convolve", None)
    assert torch.equal(conv(hidden), expected)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 32, 20), {}),
        ((2, 8, 20), {}),
        ((2, 16, 3), {"padding": 0}),
        ((0, 16, 20), {}),
        ((2, 16, 20), {"padding": "same"}),
    ],
    ids=str,
)
def test_shapes_that_it_cannot_have_are_pytorchs_to_answer(shape, options):
    conv, hidden = GroupedConv1d(16, 16, 5, **{"padding": 2, "groups": 2} | options), torch.randn(shape)
    answers = []
    for forward in (conv, lambda hidden: torch.nn.Conv1d.forward(conv, hidden)):
        try:
            answers.append(forward(hidden))
        except RuntimeError as error:
            answers.append(str(error))
    found, expected = answers
    assert found == expected if isinstance(expected, str) else torch.equal(found, expected)


def test_without_a_compiler_it_is_pytorchs_and_says_so(monkeypatch, capfd):
    native._library.cache_clear()
    monkeypatch.setenv("CXX", "no-such-compiler")
    conv, hidden = layer(16, 16, 5, 1, 2, 2), torch.randn(1, 16, 20)
    assert torch.equal(conv(hidden), torch.nn.Conv1d.forward(conv, hidden))
    assert "no-such-compiler" in capfd.readouterr().err
    native._library.cache_clear()
