"""Loudness against the standard's table, and against the official formulas in numpy, frame by frame."""

import numpy as np
import pytest
import torch

from framework.audio.loudness import a_weighting, log_magnitude_loudness, loudness, scale_f0, scale_loudness


def noise(time: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 1, time, generator=generator) * torch.logspace(-4, -1, time)


def spectra(audio: np.ndarray, n_fft: int, hop_length: int, mode: str) -> np.ndarray:
    """Return the spectra (frames, bins) of Hann windows centred on multiples of the hop, one after another."""
    padded = np.pad(audio.astype(float), n_fft // 2, mode=mode)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(padded) - n_fft + 1, hop_length)
    return np.array([np.fft.rfft(window * padded[start : start + n_fft]) for start in starts])


def weights_of(n_fft: int) -> np.ndarray:
    return a_weighting(torch.arange(n_fft // 2 + 1) * 16000 / n_fft).numpy()


def test_a_weighting_is_the_standards():
    table = {10: -70.4, 31.5: -39.4, 63: -26.2, 125: -16.1, 250: -8.6, 500: -3.2, 1000: 0.0}
    table |= {2000: 1.2, 4000: 1.0, 8000: -1.1, 12500: -4.3, 16000: -6.6, 20000: -9.3, 0: -80}
    found = a_weighting(torch.tensor(list(table), dtype=torch.float64)).numpy()
    # The table is rounded, and gives nominal frequencies for powers of ten.
    np.testing.assert_allclose(found, list(table.values()), atol=0.15)


def test_loudness_is_the_weighted_power_in_decibels():
    audio = noise(16000)
    found = loudness(audio, 16000, 64)
    assert found.shape == (2, 251)
    for clip in range(2):
        power = (np.abs(spectra(audio[clip, 0].numpy(), 512, 64, "constant")) ** 2 * 10 ** (weights_of(512) / 10)).mean(
            1
        )
        expected = np.maximum(10 * np.log10(np.maximum(power, 1e-8)), -80)
        np.testing.assert_allclose(found[clip].numpy(), expected, atol=1e-3)


def test_a_sine_has_the_power_that_parseval_says():
    sine = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)[None, None]
    # Half the bins hold half the energy, and the A-weighting is 0 dB at 1 kHz.
    expected = 10 * np.log10(512 * (0.375 * 512) * 0.5 / 2 / 257)
    assert loudness(sine, 16000, 64)[0, 125].item() == pytest.approx(expected, abs=0.01)


def test_log_magnitude_loudness_is_that_of_ddsp_pytorch():
    audio = noise(16000)
    found = log_magnitude_loudness(audio, 16000, 160)
    assert found.shape == (2, 100)
    for clip in range(2):
        magnitude = np.abs(spectra(audio[clip, 0].numpy(), 2048, 160, "reflect"))
        expected = (np.log(magnitude + 1e-7) + weights_of(2048)).mean(1)[:-1]
        np.testing.assert_allclose(found[clip].numpy(), expected, atol=1e-3)


def test_silence_is_minus_80_db_and_has_a_gradient():
    audio = torch.zeros(1, 1, 4096, requires_grad=True)
    assert (loudness(audio, 16000, 64) == -80).all()
    (loudness(audio, 16000, 64).sum() + log_magnitude_loudness(audio, 16000, 160).sum()).backward()
    assert audio.grad.isfinite().all()


def test_network_inputs_are_scaled_to_one():
    assert scale_loudness(torch.tensor([-80.0, -20.0, 0.0])).tolist() == [0, 0.75, 1]
    f0 = torch.tensor([0.0, 440.0, 880.0], requires_grad=True)
    scaled = scale_f0(f0)
    torch.testing.assert_close(scaled * 127, torch.tensor([0.0, 69.0, 81.0]))
    scaled.sum().backward()
    assert f0.grad.isfinite().all()
