"""Envelopes against the official numbers and against windows added one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.weights import load_reference

from framework.audio.envelopes import exp_sigmoid, normalise_harmonics, resample

OFFICIAL = np.load(Path(__file__).parents[1] / "reference" / "ddsp_magenta.npz")


def official(name):
    return torch.from_numpy(OFFICIAL[name])


def close(found, expected, atol):
    torch.testing.assert_close(found, expected, atol=atol, rtol=0)


def test_exp_sigmoid_equals_both_official_codes():
    close(exp_sigmoid(official("amp")), official("exp_sigmoid_amp"), 2e-7)
    core = load_reference("ddsp_pytorch")["core"]
    close(exp_sigmoid(core["scale_in"]), core["scale"], 2e-7)
    assert exp_sigmoid(torch.tensor(-1e9)).item() == pytest.approx(1e-7)
    assert exp_sigmoid(torch.ones(1, dtype=torch.bfloat16)).dtype == torch.float32


@pytest.mark.parametrize("hold_last", [True, False])
@pytest.mark.parametrize("interpolation", ["nearest", "linear", "hann", "cubic"])
def test_resampling_equals_official(interpolation, hold_last):
    expected = official(f"resample_{interpolation.replace('hann', 'window')}_{int(hold_last)}")
    found = resample(official("hd"), expected.shape[1], interpolation, hold_last)
    # TensorFlow computes positions in float32, and looks the cubic kernel up in a table of 1,024 steps.
    tolerance = {("linear", False): 2e-6, ("cubic", False): 3e-3}
    close(found, expected, tolerance.get((interpolation, hold_last), 1e-6))


def test_nearest_equals_ddsp_pytorch():
    core = load_reference("ddsp_pytorch")["core"]
    assert torch.equal(resample(core["amp"], 160, "nearest"), core["up_amp"])


def test_hann_windows_are_added():
    frames, hop_length = torch.randn(1, 5, 2), 12
    expected = torch.zeros(1, 7 * hop_length, 2)
    for k, frame in enumerate([*frames[0], frames[0, -1]]):
        start = k * hop_length
        expected[0, start : start + 2 * hop_length] += torch.hann_window(2 * hop_length)[:, None] * frame
    close(resample(frames, 5 * hop_length, "hann"), expected[:, hop_length : 6 * hop_length], 1e-6)
    with pytest.raises(ValueError, match="multiple of 5 steps for 5 frames, not 61"):
        resample(frames, 61, "hann")


def test_harmonics_above_nyquist_go_before_normalising():
    f0 = official("f0")[..., 0]
    close(normalise_harmonics(exp_sigmoid(official("hd")), f0, 16000), official("hd_norm"), 2e-7)
    core = load_reference("ddsp_pytorch")["core"]
    leaking = normalise_harmonics(core["amp"], core["pitch"][..., 0], 16000, leak=1e-4)
    close(leaking, core["nyq"] / core["nyq"].sum(-1, keepdim=True), 1e-6)


def test_frames_without_any_harmonic_are_silent_and_have_a_gradient():
    distribution = torch.rand(1, 3, 4, requires_grad=True)
    weights = normalise_harmonics(distribution, torch.tensor([[9000.0, 8000.0, 7999.0]]), 16000)
    assert weights[0].sum(-1).tolist() == [0, 0, 1]
    weights.square().sum().backward()
    assert distribution.grad.isfinite().all()
