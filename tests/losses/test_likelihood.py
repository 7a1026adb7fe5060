"""Distributions against official losses, sums over all levels, numeric integrals and counts of draws."""

import math

import pytest
import torch
from reference.weights import load_reference

from framework.audio.mu_law import boundaries, decode
from framework.losses.likelihood import Gaussian, LogisticMixture, MuLawSoftmax

ALL = [MuLawSoftmax(), LogisticMixture(3), Gaussian()]


def outputs(distribution, time, scale=-3.0, batch=1):
    """Return an output whose densities, if it has any, are about as wide as exp(scale)."""
    output = torch.randn(batch, distribution.parameters, time, generator=torch.Generator().manual_seed(1))
    if isinstance(distribution, LogisticMixture):
        logits, means, scales = output.chunk(3, dim=1)
        return torch.cat([logits, 0.3 * means, scale + 0.5 * scales], dim=1)
    return output if isinstance(distribution, MuLawSoftmax) else 0.3 * output + torch.tensor([0, scale])[:, None]


def test_losses_equal_official():
    reference = load_reference("wavenet_losses")
    audio = reference["t"].transpose(1, 2)
    for levels in (256, 65536):
        # The official code subtracts float32 CDFs: of a bin of probability 1e-5 that leaves three digits.
        nll = LogisticMixture(10, levels).nll(reference["yhat"], audio)
        atol = 1e-4 if levels == 256 else 2e-2
        torch.testing.assert_close(nll, reference[f"mol{levels}"][..., 0], atol=atol, rtol=0)
    nll = Gaussian().nll(reference["yg"], audio)
    torch.testing.assert_close(nll, reference["gaussian"][..., 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [-12.0, -4.0, 0.0])
@pytest.mark.parametrize("levels", [256, 65536])
def test_bins_of_logistics_sum_to_one(levels, scale):
    mixture = LogisticMixture(3, levels)
    audio = torch.linspace(-1, 1, levels, dtype=torch.double)[None, None]
    nll = mixture.nll(outputs(mixture, 1, scale).expand(-1, -1, levels), audio)
    assert nll.isfinite().all()
    assert nll.double().neg().exp().sum().item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("distribution", ALL, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("scale", [-14.0, -4.0, 0.0])
def test_levels_sum_to_one(distribution, scale):
    output = outputs(distribution, 1, scale).expand(-1, -1, 256)
    nll = distribution.level_nll(output, decode(torch.arange(256))[None, None])
    assert nll.isfinite().all()
    assert nll.double().neg().exp().sum().item() == pytest.approx(1, abs=1e-5)


def test_levels_are_integrals_of_the_density():
    def logistic_density(output, x):
        logits, means, log_scales = output[0, :, 0].view(3, 3, 1).double()
        z = (x - means) * torch.exp(-log_scales)
        return (logits.softmax(0) * torch.exp(-z - log_scales) / (1 + torch.exp(-z)) ** 2).sum(0)

    def normal_density(output, x):
        mean, log_scale = output[0, :, 0].double()
        return torch.exp(-0.5 * ((x - mean) / log_scale.exp()) ** 2) / log_scale.exp() / math.sqrt(2 * math.pi)

    lower, upper = boundaries(torch.arange(256))
    for distribution, density in ((LogisticMixture(3), logistic_density), (Gaussian(), normal_density)):
        output = outputs(distribution, 1)
        nll = distribution.level_nll(output.expand(-1, -1, 256), decode(torch.arange(256))[None, None])[0]
        for level in range(60, 200):
            x = torch.linspace(lower[level], upper[level], 4001, dtype=torch.double)
            integral = torch.trapezoid(density(output, x), x).item()
            assert -math.log(integral) == pytest.approx(nll[level].item(), abs=1e-4)


@pytest.mark.parametrize("distribution", ALL, ids=lambda d: type(d).__name__)
def test_draws_fall_where_the_likelihood_says(distribution):
    draws = 20_000
    output = outputs(distribution, 1, scale=-1.0).expand(-1, -1, draws)
    uniforms = torch.rand(1, distribution.uniforms, draws, generator=torch.Generator().manual_seed(0))
    audio = distribution.sample(output, uniforms)
    assert audio.shape == (1, 1, draws)
    probability = distribution.level_nll(output[..., :256], decode(torch.arange(256))[None, None])[0].neg().exp()
    # Sums over 16 levels, so that each is counted often.
    counts = torch.histc(
        (torch.bucketize(audio.double(), boundaries(torch.arange(256))[0][1:]) // 16).float(), 16, 0, 15
    )
    expected = probability.view(16, 16).sum(1) * draws
    assert ((counts - expected).square() / expected.clamp(min=1)).sum() < 45, "chi-squared, 15 degrees: 1e-4"


@pytest.mark.parametrize("distribution", ALL, ids=lambda d: type(d).__name__)
def test_temperature(distribution):
    torch.manual_seed(0)
    output = outputs(distribution, 5000)
    spreads = []
    for temperature in (0.0, 0.5, 1.0):
        uniforms = [torch.rand(1, distribution.uniforms, 5000) for _ in range(2)]
        a, b = (distribution.sample(output, u, temperature) for u in uniforms)
        spreads.append((a - b).abs().mean().item())
    assert spreads[0] < 1e-6
    assert spreads[1] < spreads[2]


@pytest.mark.parametrize("distribution", ALL, ids=lambda d: type(d).__name__)
@pytest.mark.parametrize("size", [1e-3, 1.0, 50.0, 1e4])
def test_extremes_are_finite_with_finite_gradients(distribution, size):
    output = (size * torch.randn(2, distribution.parameters, 64)).bfloat16().requires_grad_()
    audio = torch.cat([torch.tensor([-1.0, 1.0, 0.0, 2.0]), torch.rand(60) * 2 - 1]).expand(2, 1, 64)
    nll = distribution.nll(output, audio)
    assert nll.dtype == torch.float32
    assert nll.isfinite().all()
    nll.sum().backward()
    assert output.grad.isfinite().all()
    assert distribution.level_nll(output.detach(), audio).isfinite().all()
    uniforms = torch.tensor([0.0, 1 - 2**-24]).repeat(32).expand(2, distribution.uniforms, 64)
    assert distribution.sample(output.detach(), uniforms).abs().amax() <= 1
