"""Distances against closed forms and against an obvious double loop."""

import math

import numpy as np
import pytest
import torch

from framework.audio.distances import log_mel_error, log_mel_errors, stft_distance, stft_distances
from framework.audio.mel import PRESETS, MelSpectrogram


def noise(batch: int = 2, time: int = 16384, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(batch, 1, time, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", ["hifigan_22k", "melgan_22k", "vocos_24k", "diffwave_22k"])
def test_half_the_amplitude_is_ln_2_of_log_mel_in_every_convention(name):
    real = noise()
    assert log_mel_error(real, real, PRESETS[name]) == 0
    errors = log_mel_errors(torch.cat([real[:1] / 2, real[1:]]), real, PRESETS[name])
    assert errors.tolist() == pytest.approx([math.log(2), 0], abs=1e-4)


def test_log_mel_error_is_that_of_the_preset_itself_where_it_is_natural():
    fake, real, module = noise(seed=1), noise(), MelSpectrogram(PRESETS["hifigan_22k"])
    expected = (module(fake) - module(real)).abs().mean().item()
    assert log_mel_error(fake, real, PRESETS["hifigan_22k"]) == pytest.approx(expected, rel=1e-5)


def test_half_the_amplitude_is_a_half_and_ln_2_of_stft():
    real = noise()
    assert stft_distance(real, real) == 0
    assert stft_distance(real / 2, real) == pytest.approx(0.5 + math.log(2), abs=2e-3)


def test_stft_distance_is_the_plain_formula():
    fake, real = noise(1, 5000, 1), noise(1, 5000)
    values = []
    for n in (512, 2048, 4096):
        window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n)
        spectra = []
        for audio in (fake, real):
            padded = np.pad(audio[0, 0].double().numpy(), n // 2)
            frames = [padded[i : i + n] * window for i in range(0, len(padded) - n + 1, n // 4)]
            spectra.append(np.maximum(np.abs(np.fft.rfft(frames)), math.sqrt(1e-7)))
        f, s = spectra
        values.append(np.linalg.norm(s - f) / np.linalg.norm(s) + np.abs(np.log(s) - np.log(f)).mean())
    assert stft_distance(fake, real) == pytest.approx(np.mean(values), rel=1e-4)


def test_more_noise_is_further_and_silence_is_finite():
    real, disturbance, silence = noise(), noise(seed=1), torch.zeros(2, 1, 16384)
    for distance in (stft_distance, lambda f, r: log_mel_error(f, r, PRESETS["hifigan_22k"])):
        values = [distance(real + level * disturbance, real) for level in (0.01, 0.1, 1.0)]
        assert values == sorted(values)
        assert distance(silence, silence) == 0
        assert math.isfinite(distance(real, silence))
        assert math.isfinite(distance(silence, real))


def test_clips_may_be_shorter_than_the_longest_window_but_not_of_two_lengths():
    assert stft_distances(noise(3, 100), noise(3, 100, 1)).isfinite().all()
    with pytest.raises(ValueError, match="one length"):
        stft_distance(noise(1, 100), noise(1, 101))
