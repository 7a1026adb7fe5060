"""Cepstral coefficients against the official numbers."""

from pathlib import Path

import numpy as np
import torch

from framework.audio.mfcc import MFCC

OFFICIAL = np.load(Path(__file__).parents[1] / "reference" / "ddsp_magenta.npz")


def test_official_numbers():
    found = MFCC()(torch.from_numpy(OFFICIAL["a"])[:, None])
    torch.testing.assert_close(found, torch.from_numpy(OFFICIAL["mfcc"]), atol=2e-5, rtol=0)


def test_silence_has_coefficients_and_a_gradient():
    audio = torch.zeros(1, 1, 1000, requires_grad=True)
    found = MFCC()(audio)
    assert found.shape == (1, 2, 30)
    found.sum().backward()
    assert audio.grad.isfinite().all()
