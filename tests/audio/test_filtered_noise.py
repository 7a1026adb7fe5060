"""Filtered noise against official numbers, closed forms, and numpy's convolution frame by frame."""

from pathlib import Path

import numpy as np
import pytest
import torch
from reference.weights import load_reference

from framework.audio.convolution import convolve
from framework.audio.filtered_noise import filter_blocks, filter_frames, impulse_responses, uniform_noise

OFFICIAL = np.load(Path(__file__).parents[1] / "reference" / "ddsp_magenta.npz")


@pytest.mark.parametrize("taps", [None, 257, 33])
def test_official_numbers(taps):
    official = {name: torch.from_numpy(OFFICIAL[name]) for name in ("mags_scaled", "noise")}
    responses = impulse_responses(official["mags_scaled"], taps)
    expected = torch.from_numpy(OFFICIAL[f"ir_w{taps or 0}"])
    torch.testing.assert_close(responses, expected, atol=6e-11, rtol=0)
    expected = torch.from_numpy(OFFICIAL[f"filtered_w{taps or 0}"])
    found = filter_frames(official["noise"][:, None], responses)[:, 0]
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_ddsp_pytorch_numbers():
    core = load_reference("ddsp_pytorch")["core"]
    responses = torch.nn.functional.pad(impulse_responses(core["par"]), (0, 32)).roll(-64, -1)
    torch.testing.assert_close(responses, core["ir"], atol=1e-7, rtol=0)
    torch.testing.assert_close(convolve(core["sig"], core["ker"])[..., :1600], core["conv"], atol=1e-6, rtol=0)
    noise = uniform_noise(core["par"], 160)
    found = filter_blocks(noise, core["par"]).reshape(2, 10, 160)
    for clip, frame in np.ndindex(2, 10):
        whole = np.convolve(noise.reshape(2, 10, 160)[clip, frame].numpy(), core["ir"][clip, frame].numpy())
        np.testing.assert_allclose(found[clip, frame].numpy(), whole[:160], atol=1e-5)


def test_filters_change_from_frame_to_frame_and_ring_on():
    audio, responses = torch.rand(2, 1, 5 * 32), torch.randn(2, 5, 50)
    found = filter_frames(audio, responses)
    for clip in range(2):
        summed = np.zeros(5 * 32 + 49)
        for frame in range(5):
            start = frame * 32
            summed[start : start + 81] += np.convolve(audio[clip, 0, start : start + 32], responses[clip, frame])
        np.testing.assert_allclose(found[clip, 0].numpy(), summed[23 : 23 + 160], atol=1e-5)


def test_a_flat_filter_delays_by_two_samples():
    audio = uniform_noise(torch.zeros(1, 10, 65), 64)
    found = filter_frames(audio, impulse_responses(torch.ones(1, 10, 65)))
    torch.testing.assert_close(found[..., 2:], audio[..., :-2], atol=1e-6, rtol=0)
    assert audio.min() >= -1
    assert audio.abs().max() <= 1


def test_gradcheck():
    magnitudes = torch.rand(1, 3, 5, dtype=torch.float64, requires_grad=True)
    audio = torch.rand(1, 1, 30, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda a, m: filter_frames(a, impulse_responses(m)), (audio, magnitudes))
    assert torch.autograd.gradcheck(filter_blocks, (audio, magnitudes))


def test_errors_name_the_numbers():
    with pytest.raises(ValueError, match="100 samples cannot be cut into 3 equal frames"):
        filter_frames(torch.zeros(1, 1, 100), torch.zeros(1, 3, 8))
    with pytest.raises(ValueError, match="300 samples cannot be cut into 3 frames of at least 128"):
        filter_blocks(torch.zeros(1, 1, 300), torch.zeros(1, 3, 65))
    with pytest.raises(ValueError, match="odd number of taps, not 32"):
        impulse_responses(torch.zeros(1, 3, 65), 32)
