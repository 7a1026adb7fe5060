"""Projection towards a mel: what has it stays, and what has not comes nearer with each step."""

import pytest
import torch
from torch import Tensor

from framework.audio.griffin_lim import GriffinLim
from framework.audio.mel import PRESETS, MelSpectrogram
from framework.audio.mel_consistency import MelBands, MelConsistency


def chord(sample_rate: int, frames: int, hop: int, silence: float = 0.0) -> Tensor:
    """Return a chord after so much silence (s) as audio `(1, 1, frames * hop)`."""
    seconds = torch.arange(frames * hop) / sample_rate
    tones = sum(torch.sin(2 * torch.pi * f * k * seconds) / k for f in (220.0, 277.2, 329.6) for k in range(1, 12))
    noise = torch.randn(len(seconds), generator=torch.Generator().manual_seed(0))
    return ((0.15 * tones + 1e-3 * noise) * (seconds >= silence))[None, None]


@pytest.mark.parametrize("name", ["hifigan_22k", "vocos_24k", "pwg_22k", "diffwave_22k", "bigvgan_44k"])
def test_audio_that_has_the_mel_already_stays(name):
    preset = PRESETS[name]
    audio = chord(preset.sample_rate, 40, preset.hop_length, silence=0.1)
    projected = MelConsistency(preset, 3)(audio, MelSpectrogram(preset)(audio))
    torch.testing.assert_close(projected, audio, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["hifigan_22k", "vocos_24k"])
def test_each_step_brings_the_mel_of_the_audio_nearer(name):
    preset = PRESETS[name]
    front_end, griffin_lim = MelSpectrogram(preset), GriffinLim(preset, 8)
    log_mel = front_end(chord(preset.sample_rate, 60, preset.hop_length))
    frames = log_mel.shape[-1] - (preset.padding == "center")
    audio = griffin_lim(log_mel)[..., : frames * preset.hop_length]
    errors = []
    for steps in range(6):
        projected = MelConsistency(preset, steps)(audio, log_mel)
        errors.append((front_end(projected) - log_mel).abs().mean().item())
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.8 * errors[0]
    consistent = GriffinLim(preset, 8, mel_consistency_steps=5)(log_mel)
    assert consistent.shape == griffin_lim(log_mel).shape
    assert torch.equal(consistent[..., : audio.shape[-1]], projected)


def test_no_update_increases_the_divergence_from_the_mel():
    bands = MelBands(PRESETS["hifigan_22k"])
    mel, magnitude = torch.rand(2, 5, 80) + 0.01, torch.rand(2, 5, 513) + 0.01
    divergences = []
    for _ in range(8):
        present = magnitude @ bands.filters.T
        divergences.append((mel * (mel / present).log() - mel + present).sum().item())
        magnitude = bands.fit(magnitude, mel, 1)
    assert divergences == sorted(divergences, reverse=True)
    assert divergences[-1] < 0.05 * divergences[0]


def test_bins_in_no_band_and_bands_that_are_clipped_are_left_alone():
    preset = PRESETS["hifigan_22k"]
    bands = MelBands(preset)
    magnitude, mel = torch.rand(1, 1, 513), torch.rand(1, 1, 80)
    above = int(preset.f_max * preset.n_fft / preset.sample_rate) + 1
    assert torch.equal(bands.fit(magnitude, mel, 3)[..., above:], magnitude[..., above:])
    silence = torch.full((1, 1, 80), preset.floor)
    torch.testing.assert_close(bands.gain(1e-9 * magnitude, silence), torch.ones(1, 1, 513))


def test_what_a_convention_clips():
    assert PRESETS["hifigan_22k"].range == (1e-5, float("inf"))
    low, high = PRESETS["diffwave_22k"].range
    assert (low, high) == (pytest.approx(1e-4), pytest.approx(10.0))
    log_mel = torch.tensor([[[0.0], [1.0]]])
    torch.testing.assert_close(PRESETS["diffwave_22k"].bands(log_mel).flatten(), torch.tensor([low, high]))
