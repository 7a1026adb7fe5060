"""Oscillators against official numbers, closed forms, and the sum written out in float64."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from reference.weights import load_reference
from torch import Tensor

from framework.audio.envelopes import resample
from framework.audio.oscillators import harmonic_oscillators
from framework.bench.machine import peak_memory


def written_out(f0, amplitudes, hop_length, sample_rate, interpolation, f0_interpolation="linear", band_limited=True):
    """Return the sum in float64, one harmonic after another."""
    steps = f0.shape[1] * hop_length
    frequency = resample(f0.double()[..., None], steps, f0_interpolation)[..., 0]
    phase = torch.cumsum(2 * torch.pi * frequency / sample_rate, 1)
    audio = torch.zeros_like(phase)
    for k in range(amplitudes.shape[-1]):
        amplitude = resample(amplitudes.double()[..., k : k + 1], steps, interpolation)[..., 0]
        if band_limited:
            below = resample(f0.double()[..., None], steps, f0_interpolation)[..., 0] * (k + 1) < sample_rate / 2
            amplitude = amplitude * below
        audio = audio + amplitude * torch.sin((k + 1) * phase)
    return audio[:, None]


def glide(frames: int, harmonics: int, low: float, high: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return f0 that wanders between two frequencies and amplitudes of sum one."""
    generator = torch.Generator().manual_seed(seed)
    f0 = low + (high - low) * torch.rand(2, frames, generator=generator)
    return f0, torch.rand(2, frames, harmonics, generator=generator).softmax(-1)


def test_official_numbers():
    official = {k: torch.from_numpy(v) for k, v in _official().items() if v.ndim}
    amplitudes = official["exp_sigmoid_amp"] * official["hd_norm"]
    found = harmonic_oscillators(official["f0"][..., 0], amplitudes, 64, 16000)
    # The official phase is accumulated in float32.
    for name in ("harmonic", "harmonic_angular"):
        torch.testing.assert_close(found[:, 0], official[name], atol=5e-4, rtol=0)
    exact = written_out(official["f0"][..., 0], amplitudes, 64, 16000, "hann")
    torch.testing.assert_close(found, exact.float(), atol=5e-6, rtol=0)


def test_ddsp_pytorch_numbers():
    core = load_reference("ddsp_pytorch")["core"]
    found = harmonic_oscillators(core["pitch"][..., 0], core["amp"], 16, 16000, "nearest", "nearest", False)
    torch.testing.assert_close(found.mT, core["harm"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("seconds", [4, 60])
@pytest.mark.parametrize("interpolation", ["nearest", "hann"])
def test_a_constant_f0_is_a_sum_of_sines_without_drift(seconds, interpolation):
    f0, rate = torch.full((1, seconds * 250), 79.3), 16000
    amplitude = torch.rand(100, generator=torch.Generator().manual_seed(0)).softmax(-1)
    found = harmonic_oscillators(f0, amplitude.expand(1, seconds * 250, -1), 64, rate, interpolation)
    assert found.shape == (1, 1, seconds * rate)
    cycles = torch.arange(1, seconds * rate + 1, dtype=torch.float64)[-64000:] * f0[0, 0].item() / rate
    expected = sum(a * torch.sin(2 * torch.pi * k * cycles) for k, a in enumerate(amplitude.double(), start=1))
    assert (found[0, 0, -64000:] - expected).abs().max() < 1e-5


def test_a_wandering_f0_is_as_exact_after_a_minute():
    f0, rate = glide(15000, 1, 80, 130)[0], 16000
    amplitude = torch.rand(60, generator=torch.Generator().manual_seed(0)).softmax(-1)
    found = harmonic_oscillators(f0, amplitude.expand(2, 15000, -1), 64, rate)
    cycles = (resample(f0.double()[..., None], 60 * rate)[..., 0] / rate).cumsum(1)[:, -16000:]
    expected = sum(a * torch.sin(2 * torch.pi * k * cycles) for k, a in enumerate(amplitude.double(), start=1))
    assert (found[:, 0, -16000:] - expected).abs().max() < 1e-5


def test_the_last_second_of_an_hour_is_as_exact_as_the_first():
    rate, hop, last = 800, 4, 200  # Hz, samples, frames of a second
    frames = 3600 * rate // hop
    wandering = 60 + 20 * torch.rand(frames, generator=torch.Generator().manual_seed(0))
    f0 = torch.stack([torch.full((frames,), 79.3), wandering])
    amplitude = torch.tensor([0.3, 0.2, 0.5])
    found = harmonic_oscillators(f0, amplitude.expand(2, frames, -1), hop, rate)[:, 0, -last * hop :]
    assert found.shape == (2, last * hop)
    for hertz, audio in zip(f0, found, strict=True):
        # In whole numbers, which are not rounded: twice the samples' sum of a line from frame to frame.
        whole = (hertz.double() * 2**20).long().tolist()
        assert torch.equal(torch.tensor(whole).double() / 2**20, hertz.double())
        twice = sum(2 * hop * a + (b - a) * (hop - 1) for a, b in itertools.pairwise(whole[: frames - last + 1]))
        before = twice % (2 * rate * 2**20) / (2 * rate * 2**20)
        frequency = resample(hertz.double()[None, -last:, None], last * hop)[0, :, 0]
        cycles = before + (frequency / rate).cumsum(0)
        expected = sum(a * torch.sin(2 * torch.pi * k * cycles) for k, a in enumerate(amplitude.double(), start=1))
        assert (audio - expected).abs().max() < 2e-6


@pytest.mark.parametrize("band_limited", [True, False])
@pytest.mark.parametrize("f0_interpolation", ["nearest", "linear"])
@pytest.mark.parametrize("interpolation", ["nearest", "linear", "hann", "cubic"])
def test_audio_and_gradients_are_those_of_the_sum_written_out(
    interpolation, f0_interpolation, band_limited, monkeypatch
):
    monkeypatch.setattr("framework.audio.oscillators._FRAMES_AT_ONCE", 8)
    f0, amplitudes = glide(70, 23, 200, 900)
    settings = (64, 16000, interpolation, f0_interpolation, band_limited)
    weight = torch.randn(2, 1, 70 * 64, generator=torch.Generator().manual_seed(1))
    results = []
    for function, dtype in ((harmonic_oscillators, torch.float32), (written_out, torch.float64)):
        inputs = [x.to(dtype).requires_grad_() for x in (f0, amplitudes)]
        audio = function(*inputs, *settings)
        gradients = torch.autograd.grad(audio, inputs, weight.to(dtype))
        results.append([audio.detach(), *gradients])
    for found, expected in zip(*results, strict=True):
        assert (found - expected).abs().max() < 2e-5 * max(1, expected.abs().max())


@pytest.mark.parametrize("f0_interpolation", ["nearest", "linear"])
@pytest.mark.parametrize("interpolation", ["nearest", "linear", "hann", "cubic"])
def test_gradcheck(interpolation, f0_interpolation):
    f0 = torch.tensor([[7.1, 11.3, 9.2], [12.3, 0.0, 30.7]], dtype=torch.float64, requires_grad=True)
    amplitudes = torch.rand(2, 3, 5, dtype=torch.float64, requires_grad=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("framework.audio.oscillators._SAMPLES_AT_ONCE", {"cpu": 8})
        voiced = (f0 > 0).detach()
        assert torch.autograd.gradcheck(
            lambda f, a: harmonic_oscillators(f * voiced, a, 4, 100, interpolation, f0_interpolation),
            (f0, amplitudes),
        )


def test_unvoiced_frames_are_silent_and_f0_does_not_glide_to_zero():
    f0 = torch.tensor([[220.0, 0.0, 0.0, 330.0]], requires_grad=True)
    amplitudes = torch.full((1, 4, 3), 0.2, requires_grad=True)
    audio = harmonic_oscillators(f0, amplitudes, 64, 16000)[0, 0]
    held = harmonic_oscillators(torch.full((1, 1), 220.0), torch.full((1, 1, 3), 0.2), 64, 16000)[0, 0]
    fade = 0.5 + 0.5 * torch.cos(torch.pi * torch.arange(64) / 64)
    torch.testing.assert_close(audio[:64], held * fade, atol=1e-6, rtol=0)
    assert (audio[64:128] == 0).all()
    assert audio[128:].abs().max() > 0.1
    audio.square().sum().backward()
    assert f0.grad.isfinite().all()
    assert amplitudes.grad.isfinite().all()
    assert (amplitudes.grad[0, 1:3] == 0).all()
    for interpolation in ("nearest", "linear"):
        silence = harmonic_oscillators(torch.zeros(1, 4), amplitudes, 64, 16000, "hann", interpolation)
        assert (silence == 0).all()


def test_autocast_changes_nothing_and_batches_do_not_mix():
    f0, amplitudes = glide(20, 10, 100, 700)
    audio = harmonic_oscillators(f0, amplitudes, 64, 16000)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(harmonic_oscillators(f0, amplitudes, 64, 16000), audio)
    torch.testing.assert_close(harmonic_oscillators(f0[1:], amplitudes[1:], 64, 16000), audio[1:], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match=r"f0 \(1, 20\) and amplitudes \(2, 20, 10\)"):
        harmonic_oscillators(f0[:1], amplitudes, 64, 16000)


def test_no_tensor_of_samples_by_harmonics_is_ever_made():
    f0, amplitudes = glide(1000, 100, 60, 75)
    f0, amplitudes = f0.requires_grad_(), amplitudes.requires_grad_()

    def run():
        harmonic_oscillators(f0, amplitudes, 160, 16000).sum().backward()
        return 1.0

    run()
    assert peak_memory(run) < 4 * 1000 * 160 * 100 / 2


def _official() -> dict[str, np.ndarray]:
    return dict(np.load(Path(__file__).parents[1] / "reference" / "ddsp_magenta.npz"))
