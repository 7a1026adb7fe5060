"""Spectral normalisation: its closed-form gradient against finite differences, its norm against singular values."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from framework.discriminators.spectral_norm import SpectralNorm


def test_gradients_are_those_of_finite_differences():
    torch.manual_seed(0)
    weight = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    # In evaluation u and v stay where they are.
    norm = SpectralNorm(weight.detach().float()).double().eval()
    assert gradcheck(norm, weight)
    assert gradgradcheck(norm, weight)


def test_largest_singular_value_comes_to_be_1():
    torch.manual_seed(0)
    weight = torch.randn(8, 3, 5)
    norm = SpectralNorm(weight)
    for _ in range(50):
        found = norm(weight)
    assert torch.linalg.matrix_norm(found.flatten(1), 2).item() == pytest.approx(1, abs=1e-4)
    torch.testing.assert_close(found / found.flatten()[0], weight / weight.flatten()[0])
