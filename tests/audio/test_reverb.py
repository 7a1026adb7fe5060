"""Reverberation against official numbers and numpy's convolution."""

from pathlib import Path

import numpy as np
import pytest
import torch

from framework.audio.convolution import convolve
from framework.audio.reverb import DecayReverb, TrainableReverb, add_reverb

OFFICIAL = np.load(Path(__file__).parents[1] / "reference" / "ddsp_magenta.npz")


def test_official_numbers():
    audio, response, expected = (torch.from_numpy(OFFICIAL[name]) for name in ("noise", "reverb_ir", "reverb"))
    found = add_reverb(audio[:, None], response[0])[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    module = TrainableReverb(400)
    assert module.response.std().item() == pytest.approx(1e-6, rel=0.2)
    module.response.data = response[0]
    assert torch.equal(module(audio[:, None])[:, 0], found)


@pytest.mark.parametrize("time", [300, 1600, 2500])
def test_decay_reverb_is_a_convolution_with_a_first_tap_of_one(time):
    module, audio = DecayReverb(1600, 16000, wet=0.3, decay=2.0), torch.rand(2, 1, time) * 2 - 1
    t = np.arange(1600) / 16000
    rate = 500 * np.log1p(np.exp(-2.0))
    impulse = module.noise.detach()[:, 0].double().numpy() * np.exp(-rate * t) / (1 + np.exp(-0.3))
    impulse[0] = 1
    found = module(audio).detach()
    for clip in range(2):
        expected = np.convolve(audio[clip, 0].double().numpy(), impulse)[:time]
        np.testing.assert_allclose(found[clip, 0].numpy(), expected, atol=2e-5)
    assert set(module.state_dict()) == {"noise", "decay", "wet"}


def test_the_first_tap_has_no_gradient_and_silence_stays_silent():
    module = TrainableReverb(64)
    audio = torch.rand(1, 1, 200, requires_grad=True)
    module(audio).square().sum().backward()
    assert module.response.grad[0] == 0
    assert (module.response.grad[1:] != 0).all()
    assert (module(torch.zeros(1, 1, 200)) == 0).all()


def test_convolution_is_that_of_numpy_and_has_its_gradient():
    a, b = torch.randn(3, 37, dtype=torch.float64), torch.randn(11, dtype=torch.float64)
    for row, found in zip(a, convolve(a, b), strict=True):
        np.testing.assert_allclose(found.numpy(), np.convolve(row.numpy(), b.numpy()), atol=1e-12)
    inputs = a[:, :9].requires_grad_(), b.requires_grad_()
    assert torch.autograd.gradcheck(convolve, inputs)
