"""Phases from magnitudes in one pass, on signals whose phases are known."""

import torch
from torch import Tensor

from framework.audio.spsi import SinglePassInversion, sinusoids

N_FFT, HOP = 512, 128
WINDOW = torch.hann_window(N_FFT)


def spectra(audio: Tensor) -> Tensor:
    """Return the spectra `(batch, frames, bins)` of audio `(batch, time)`, without edges."""
    return torch.stft(audio, N_FFT, HOP, window=WINDOW, center=False, return_complex=True).mT


def tones(*bins: float) -> Tensor:
    """Return three seconds' worth of sinusoids `(1, time)` of these frequencies in bins, with phases of their own."""
    time = torch.arange(100 * HOP, dtype=torch.double)
    waves = [torch.cos(2 * torch.pi * f * time / N_FFT + 3 * number) for number, f in enumerate(bins)]
    return torch.stack(waves).sum(0)[None].float()


def test_each_bin_belongs_to_the_sinusoid_at_its_peak():
    peaks, frequencies = sinusoids(spectra(tones(40.3, 90.8)).abs())
    assert peaks[:, :, 38:43].eq(40).all()
    assert peaks[:, :, 89:93].eq(91).all()
    torch.testing.assert_close(frequencies[:, :, 40], torch.full_like(frequencies[:, :, 40], 40.3), atol=0.03, rtol=0)
    torch.testing.assert_close(frequencies[:, :, 91], torch.full_like(frequencies[:, :, 91], 90.8), atol=0.03, rtol=0)


def test_phases_of_steady_tones_are_theirs_but_for_a_constant():
    truth = spectra(tones(40.0, 91.0, 150.0))
    phase = SinglePassInversion(N_FFT, HOP)(truth.abs())
    for peak in (40, 91, 150):
        lobe = slice(peak - 1, peak + 2)
        difference = torch.polar(torch.ones_like(phase), phase - truth.angle())[0, :, lobe]
        # The same constant in all frames and in all bins of the lobe.
        assert (difference - difference[0, 0]).abs().max() < 0.02


def test_pieces_have_the_phases_of_the_whole():
    magnitude = spectra(torch.randn(2, 60 * HOP)).abs()
    whole = SinglePassInversion(N_FFT, HOP)(magnitude)
    inversion = SinglePassInversion(N_FFT, HOP)
    pieces = magnitude.split([1, 0, 20, 3, magnitude.shape[1] - 24], dim=1)
    assert torch.equal(torch.cat([inversion(piece) for piece in pieces], dim=1), whole)


def test_silence_has_phases_too():
    phase = SinglePassInversion(N_FFT, HOP)(torch.zeros(1, 5, N_FFT // 2 + 1))
    assert torch.isfinite(phase).all()
