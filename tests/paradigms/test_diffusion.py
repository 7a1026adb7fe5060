"""Schedules against official tables; objectives and samplers against a data distribution whose noise is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from framework.generators.diffwave import DiffWave, UnconditionalDiffWave
from framework.paradigms.noise_schedules import (
    DDIM,
    Ancestral,
    NoiseSchedule,
    PredictClean,
    PredictNoise,
    PredictResidual,
    PredictVelocity,
    Trajectory,
    denoise,
)

TABLES = Path(__file__).parents[1] / "reference" / "ddpm_tables.npz"
MEAN, DEVIATION = 0.3, 0.2


def test_linear_schedule_is_ddpms():
    tables = np.load(TABLES)
    schedule, rows = NoiseSchedule.linear(1000, 1e-4, 0.02), tables["idx"]
    np.testing.assert_allclose(schedule.betas[rows], tables["betas"], rtol=1e-12)
    np.testing.assert_allclose(schedule.alpha_bars[rows], tables["alphas_cumprod"], rtol=1e-10)
    np.testing.assert_allclose(schedule.signal[rows], tables["sqrt_alphas_cumprod"], rtol=1e-6)
    np.testing.assert_allclose(schedule.noise[rows], tables["sqrt_one_minus_alphas_cumprod"], rtol=1e-6)


def test_ancestral_step_has_ddpms_posterior():
    tables = np.load(TABLES)
    schedule = NoiseSchedule.linear(1000, 1e-4, 0.02)
    for row, timestep in enumerate(tables["idx"]):
        now, then = schedule.alpha_bars[timestep], schedule.alpha_bars[timestep - 1] if timestep else 1.0
        zero, one = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
        torch.manual_seed(0)
        noise = float(torch.randn_like(zero))
        fresh = noise * tables["posterior_variance"][row] ** 0.5
        for clean, noisy, mean in ((one, zero, "posterior_mean_coef1"), (zero, one, "posterior_mean_coef2")):
            torch.manual_seed(0)
            step = float(Ancestral().step(noisy, clean, now, then))
            assert step - fresh == pytest.approx(tables[mean][row], rel=1e-8, abs=1e-12)


def test_cosine_schedule_is_the_papers():
    schedule = NoiseSchedule.cosine(1000)
    timestep = np.arange(1, 901)
    f = np.cos((timestep / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(schedule.alpha_bars[:900], f, rtol=1e-9)
    assert schedule.betas.max() == 0.999


def test_quadratic_schedule_is_linear_under_the_root():
    betas = NoiseSchedule.quadratic(1000, 0.00085, 0.012).betas
    np.testing.assert_allclose(np.diff(np.sqrt(betas)), (0.012**0.5 - 0.00085**0.5) / 999, rtol=1e-9)
    assert (betas[0], betas[-1]) == pytest.approx((0.00085, 0.012))


def test_fast_betas_align_with_the_official_levels():
    way = NoiseSchedule.linear(50, 1e-4, 0.05).aligned((1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5))
    np.testing.assert_allclose(way.timesteps[::-1], [0, 0.894, 4.087, 10.452, 22.992, 42.919], atol=5e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NoiseSchedule([0.1, 1.0]), "beta 1 at timestep 1"),
        (lambda: NoiseSchedule([0.0]), "beta 0 at timestep 0"),
        (lambda: NoiseSchedule([]), "has no timesteps"),
        (lambda: DiffWave(beta_end=1.5, channels=4, layers=1), "beta_end = 1.5: must be above 0 and below 1"),
        (lambda: NoiseSchedule.linear(10, 1e-4, 0.02).trajectory(11), "11 sampling steps: the schedule has 10"),
        (lambda: NoiseSchedule.linear(10, 1e-4, 0.02).aligned([0.5]), "outside the trained range"),
    ],
)
def test_schedules_that_cannot_be_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def oracle(schedule, objective):
    """Return the best prediction there is for data distributed as N(MEAN, DEVIATION^2), in closed form."""
    known = np.arange(len(schedule))

    def predict(noisy, timesteps):
        signal = np.sqrt(np.interp(timesteps[0].item(), known, schedule.alpha_bars))
        sigma = np.sqrt(1 - signal**2)
        gain = signal * DEVIATION**2 / (signal**2 * DEVIATION**2 + sigma**2)
        clean = MEAN + gain * (noisy - signal * MEAN)
        return objective.target(clean, (noisy - signal * clean) / sigma, signal, sigma)

    return predict


@pytest.mark.parametrize("objective", [PredictNoise(), PredictClean(), PredictVelocity(), PredictResidual(0.5)])
@pytest.mark.parametrize("sampler", [Ancestral(), Ancestral(large=True), DDIM(), DDIM(eta=1.0)])
def test_the_best_prediction_leads_back_to_the_data(objective, sampler):
    schedule = NoiseSchedule.linear(1000, 1e-4, 0.02)
    torch.manual_seed(0)
    noise = torch.randn(20_000, 1, dtype=torch.float64)
    found = denoise(oracle(schedule, objective), noise, schedule.trajectory(), objective, sampler)
    assert found.mean().item() == pytest.approx(MEAN, abs=0.01)
    assert found.std().item() == pytest.approx(DEVIATION, rel=0.05)


def test_ddim_goes_to_the_noise_and_comes_back():
    torch.manual_seed(0)
    schedule, objective = NoiseSchedule.linear(1000, 1e-4, 0.02), PredictNoise()
    predict, clean = oracle(schedule, objective), MEAN + DEVIATION * torch.randn(100, 1, dtype=torch.float64)
    way, example = schedule.trajectory(), clean
    timesteps, alpha_bars = way.timesteps[::-1], way.alpha_bars[::-1]
    for timestep, now, then in zip(timesteps, (1 - 1e-9, *alpha_bars), alpha_bars, strict=False):
        predicted = objective.clean(predict(example, torch.tensor([timestep])), example, now**0.5, (1 - now) ** 0.5)
        example = DDIM().step(example, predicted, now, then)
    back = denoise(predict, example, way, objective, DDIM())
    torch.testing.assert_close(back, clean, atol=1e-2, rtol=0)


def test_ddim_with_all_its_noise_is_ancestral_sampling():
    noisy, clean = torch.randn(2, 50, dtype=torch.float64)
    steps = []
    for sampler in (Ancestral(), DDIM(eta=1.0)):
        torch.manual_seed(1)
        steps.append(sampler.step(noisy, clean, 0.3, 0.7))
    torch.testing.assert_close(*steps)


def test_objectives_say_the_same():
    clean, noise = torch.randn(2, 100, dtype=torch.float64)
    signal, sigma = 0.6, 0.8
    noisy = signal * clean + sigma * noise
    for objective in (PredictNoise(), PredictClean(), PredictVelocity(), PredictResidual(0.5)):
        told = objective.clean(objective.target(clean, noise, signal, sigma), noisy, signal, sigma)
        torch.testing.assert_close(told, clean)


def test_a_residual_has_variance_one_and_nothing_to_do_with_the_noisy_example():
    clean, noise = 0.5 * torch.randn(100_000), torch.randn(100_000)
    for signal in (0.1, 0.7, 0.999):
        sigma = (1 - signal**2) ** 0.5
        residual = PredictResidual(0.5).target(clean, noise, signal, sigma)
        assert residual.std().item() == pytest.approx(1, abs=0.02)
        assert (residual * (signal * clean + sigma * noise)).mean().item() == pytest.approx(0, abs=0.02)


def test_a_network_that_predicts_nothing_has_the_loss_of_the_noise():
    """The output projection begins at zero, so that the first losses are E|noise| = sqrt(2 / pi) and E noise^2 = 1."""
    batch = {"audio": 0.1 * torch.randn(8, 1, 4096), "key": ["noise"] * 8}
    for distance, expected in (("l1", (2 / torch.pi) ** 0.5), ("l2", 1.0)):
        system = UnconditionalDiffWave(channels=4, layers=2, loss_type=distance)
        torch.nn.init.zeros_(system.generator.output_projection.bias)
        assert system.training_losses(batch)["denoising"].item() == pytest.approx(expected, rel=0.03)
        assert system.measure(batch)["loss"].item() == pytest.approx(expected, rel=0.03)


def test_clamps_are_put_on_every_step():
    way = Trajectory((1.0, 0.0), (0.25, 0.81))
    seen, cleaned = [], []

    def predict(noisy, timesteps):
        seen.append(noisy.abs().max().item())
        return torch.full_like(noisy, -5.0)

    def clamp_clean(clean):
        cleaned.append(clean.abs().max().item())
        return clean.clamp(-1, 1)

    start, objective = torch.ones(1, 4), PredictNoise()
    end = denoise(predict, start, way, objective, DDIM(), clamp_step=lambda x: x.clamp(-1, 1))
    assert max(*seen, end.abs().max().item()) <= 1
    end = denoise(predict, start, way, objective, DDIM(), clamp_clean=clamp_clean)
    assert min(cleaned) > 1
    assert end.abs().max().item() <= 1


def test_the_held_out_loss_does_not_depend_on_what_was_drawn_before():
    system = UnconditionalDiffWave(channels=4, layers=2)
    batch = {"audio": 0.1 * torch.randn(1, 1, 2048)}
    assert system.measure(batch) == system.measure(batch)


@torch.no_grad()
def test_fast_sampling_is_the_published_algorithm_written_out():
    """Kong et al., 2021, algorithm 2 with the schedule and the aligned steps of appendix B, clamped as by lmnt."""
    system = DiffWave(channels=4, layers=2)
    torch.nn.init.normal_(system.generator.output_projection.weight)
    batch = {"audio": 0.1 * torch.randn(1, 1, 1024)}
    torch.manual_seed(3)
    found = system.synthesize(batch)
    alphas, gammas = np.cumprod(1 - np.linspace(1e-4, 0.05, 50)), 1 - np.array(system.fast_betas)
    torch.manual_seed(3)
    audio = torch.randn(1, 1, 1024)
    for step in reversed(range(6)):
        left = np.prod(gammas[: step + 1])
        below = next(t for t in range(49) if alphas[t + 1] <= left <= alphas[t])
        part = (alphas[below] ** 0.5 - left**0.5) / (alphas[below] ** 0.5 - alphas[below + 1] ** 0.5)
        noise = system.generator(audio, torch.tensor([below + part]), **system.condition(batch))
        audio = (audio - (1 - gammas[step]) / (1 - left) ** 0.5 * noise) / gammas[step] ** 0.5
        if step:
            variance = (1 - np.prod(gammas[:step])) / (1 - left) * (1 - gammas[step])
            audio = audio + variance**0.5 * torch.randn_like(audio)
        audio = audio.clamp(-1, 1)
    torch.testing.assert_close(found, audio.float(), atol=1e-4, rtol=0)


def test_the_loss_is_float32_under_autocast():
    system = UnconditionalDiffWave(channels=4, layers=2)
    with torch.autocast("cpu", torch.bfloat16):
        loss = system.training_losses({"audio": 0.1 * torch.randn(2, 1, 1024)})["denoising"]
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
