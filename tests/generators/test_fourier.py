"""Networks on the spectrum: what they know before they have learnt anything, by closed forms."""

import pytest
import torch

from framework.audio.mel import MelSpectrogram, preset
from framework.generators.fourier import Spectrum, SpectrumDenoiser, SpectrumEncoder
from framework.paradigms.noise_schedules import NoiseSchedule, PredictClean, PredictResidual

MEL = preset("diffwave_22k")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(("padding", "frames"), [("center", 11), ("same", 10)])
def test_noise_has_coefficients_of_variance_1_and_comes_back(padding, frames):
    noise = torch.randn(8, 1, 2560)
    spectrum = Spectrum(1024, 256, padding)
    coefficients = spectrum(noise)
    assert coefficients.shape == (8, 2, 513, frames)
    assert coefficients[..., 3:-3].square().sum(1).mean().item() == pytest.approx(1, rel=0.05)
    torch.testing.assert_close(spectrum.inverse(coefficients), noise, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("timestep", [0, 25, 49])
def test_an_untrained_denoiser_is_the_wiener_filter_of_the_mels_envelope(timestep):
    schedule = NoiseSchedule.quadratic(50, 1e-5, 0.2)
    network = SpectrumDenoiser(schedule, MEL, channels=16, hidden=32, layers=1)
    deviation = 0.1
    clean = deviation * torch.randn(4, 1, 40 * 256)
    timesteps = torch.full((4,), timestep)
    noisy = schedule(clean, torch.randn_like(clean), timesteps)
    predicted = network(noisy, timesteps, MelSpectrogram(MEL)(clean)[..., :40])
    signal, sigma = (scale.item() for scale in schedule.scales(timesteps[:1], clean[:1]))
    expected = (deviation * sigma) ** 2 / ((deviation * signal) ** 2 + sigma**2)
    # The mel's envelope is that of these very samples: where they happen to be soft, the filter takes too much.
    assert (predicted - clean).square().mean().item() == pytest.approx(expected, rel=0.4)


def test_an_encoder_makes_a_latent_of_each_frame():
    encoder = SpectrumEncoder(6, 64, channels=8, hidden=16, layers=1)
    assert encoder(torch.randn(2, 1, 64 * 9)).shape == (2, 6, 9)


@pytest.mark.parametrize("timestep", [0, 25, 49])
def test_an_error_of_the_clean_example_counts_as_one_of_its_residual(timestep):
    signal, sigma = (
        scale.item() for scale in NoiseSchedule.cosine(50).scales(torch.tensor([timestep]), torch.zeros(1))
    )
    clean, wrong, noise = 0.3 * torch.randn(3, 100)
    noisy, residual = signal * clean + sigma * noise, PredictResidual(0.3)
    unit = PredictClean(0.3).unit(signal, sigma)
    right = residual.target(clean, noise, signal, sigma)
    # The prediction of the residual that amounts to the wrong clean example, found by two of its points.
    at_0, at_1 = (residual.clean(torch.full((100,), x), noisy, signal, sigma) for x in (0.0, 1.0))
    torch.testing.assert_close((wrong - clean) / unit, (wrong - at_0) / (at_1 - at_0) - right, atol=1e-3, rtol=1e-3)
