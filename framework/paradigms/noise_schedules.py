"""Noise schedules, objectives and samplers of diffusion models.

The noisy example at timestep t is `sqrt(alpha_bar_t) clean + sqrt(1 - alpha_bar_t) noise`, where alpha_bar is the
cumulative product of `1 - beta` (Ho et al., 2020, equation 4). Timestep 0 has the least noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from framework.errors import InvalidValueError


class NoiseSchedule(nn.Module):
    """The noise at each timestep.

    Args:
        betas: Variance of the noise that each timestep adds, in (0, 1).

    Raises:
        ValueError: no timestep, or a beta that is not in (0, 1).
    """

    signal: Tensor
    noise: Tensor

    def __init__(self, betas: Sequence[float] | np.ndarray) -> None:
        super().__init__()
        self.betas = np.asarray(betas, dtype=np.float64)
        wrong = [(timestep, beta) for timestep, beta in enumerate(self.betas) if not 0 < beta < 1]
        if not len(self.betas) or wrong:
            first = f"beta {wrong[0][1]:g} at timestep {wrong[0][0]}" if wrong else "no timesteps"
            raise InvalidValueError(f"a noise schedule needs betas between 0 and 1, and has {first}")
        self.alpha_bars = np.cumprod(1 - self.betas)
        # Follow from the betas: not for the checkpoint.
        self.register_buffer("signal", torch.tensor(np.sqrt(self.alpha_bars), dtype=torch.float32), persistent=False)
        self.register_buffer("noise", torch.tensor(np.sqrt(1 - self.alpha_bars), dtype=torch.float32), persistent=False)

    @classmethod
    def linear(cls, timesteps: int, first: float, last: float) -> Self:
        """Return betas that rise linearly (Ho et al., 2020, section 4: 1000 timesteps from 1e-4 to 0.02)."""
        return cls(np.linspace(first, last, timesteps))

    @classmethod
    def quadratic(cls, timesteps: int, first: float, last: float) -> Self:
        """Return betas whose square roots rise linearly (the official code of Rombach et al., 2022)."""
        return cls(np.linspace(first**0.5, last**0.5, timesteps) ** 2)

    @classmethod
    def cosine(cls, timesteps: int, offset: float = 0.008, largest: float = 0.999) -> Self:
        """Return betas under which alpha_bar falls as a squared cosine (Nichol & Dhariwal, 2021, equation 17)."""
        angle = (np.arange(timesteps + 1) / timesteps + offset) / (1 + offset) * np.pi / 2
        alpha_bars = np.cos(angle) ** 2
        return cls(np.minimum(1 - alpha_bars[1:] / alpha_bars[:-1], largest))

    def __len__(self) -> int:
        return len(self.betas)

    def forward(self, clean: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Add noise to clean examples `(batch, ...)` at integer timesteps `(batch,)` (equation 4)."""
        signal, sigma = self.scales(timesteps, clean)
        return signal * clean + sigma * noise

    def scales(self, timesteps: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the factors of signal and noise at integer timesteps `(batch,)`, to be multiplied with `like`."""
        shape = (-1,) + (1,) * (like.dim() - 1)
        return self.signal[timesteps].view(shape), self.noise[timesteps].view(shape)

    def trajectory(self, steps: int = 0) -> "Trajectory":
        """Return a sampling trajectory over `steps` evenly spaced timesteps, including the last; 0 for all.

        Raises:
            ValueError: more steps than timesteps, or a negative number.
        """
        if not 0 <= steps <= len(self):
            raise InvalidValueError(
                f"{steps} sampling steps: the schedule has {len(self)} timesteps (0 takes all of them)"
            )
        timesteps = np.linspace(len(self) - 1, 0, steps or len(self)).round().astype(int)
        if steps == 1:
            timesteps = timesteps[:1]
        return Trajectory(tuple(map(float, timesteps)), tuple(map(float, self.alpha_bars[timesteps])))

    def aligned(self, betas: Sequence[float]) -> "Trajectory":
        """Return a sampling trajectory of other betas, at the fractional timesteps of this schedule with as much noise.

        DiffWave's fast sampling (Kong et al., 2021, appendix B): a few large steps with a network trained on many.

        Raises:
            ValueError: a beta with more or less noise than any timestep of this schedule.
        """
        alpha_bars = NoiseSchedule(betas).alpha_bars
        signal, known = np.sqrt(alpha_bars), np.sqrt(self.alpha_bars)
        tolerance = 1e-12
        if signal[0] > known[0] + tolerance or signal[-1] < known[-1] - tolerance:
            raise InvalidValueError(
                f"fast sampling from alpha_bar {alpha_bars[-1]:.3g} to {alpha_bars[0]:.3g} is outside the trained "
                f"range, {self.alpha_bars[-1]:.3g} to {self.alpha_bars[0]:.3g}: choose other betas"
            )
        timesteps = np.interp(-signal, -known, np.arange(len(self)))
        return Trajectory(tuple(map(float, timesteps[::-1])), tuple(map(float, alpha_bars[::-1])))


Distance: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Trajectory:
    """A sampling trajectory: timesteps as inputs of the network, and alpha_bar at each, from most to least noise."""

    timesteps: tuple[float, ...]
    alpha_bars: tuple[float, ...]


class Objective:
    """The quantity that the network predicts, from which and the noisy example signal and noise are computed."""

    def target(self, clean: Tensor, noise: Tensor, signal: Tensor | float, sigma: Tensor | float) -> Tensor:
        """Return the target of the prediction, given the factors of signal and noise."""
        raise NotImplementedError

    def clean(self, predicted: Tensor, noisy: Tensor, signal: float, sigma: float) -> Tensor:
        """Return the clean example that follows from a prediction."""
        raise NotImplementedError

    def unit(self, signal: Any, sigma: Any) -> Any:
        """Return the unit of prediction errors, given the factors of signal and noise."""
        return 1.0

    def loss(
        self, predicted: Tensor, clean: Tensor, noise: Tensor, signal: Any, sigma: Any, distance: Distance
    ) -> Tensor:
        """Return the distance between prediction and target, given the factors of signal and noise."""
        unit = self.unit(signal, sigma)
        return distance(predicted / unit, self.target(clean, noise, signal, sigma) / unit)


class PredictNoise(Objective):
    """Epsilon prediction (Ho et al., 2020, section 3.2)."""

    def target(self, clean: Tensor, noise: Tensor, signal: Tensor | float, sigma: Tensor | float) -> Tensor:
        return noise

    def clean(self, predicted: Tensor, noisy: Tensor, signal: float, sigma: float) -> Tensor:
        return (noisy - sigma * predicted) / signal


class PredictClean(Objective):
    """x0 prediction.

    Args:
        std: Standard deviation of the data. Errors are then divided by the standard deviation of the error of the
            best linear estimate (Karras et al., 2022, table 1, loss weighting). None weights all timesteps equally.
    """

    def __init__(self, std: float | None = None) -> None:
        self.std = std

    def target(self, clean: Tensor, noise: Tensor, signal: Tensor | float, sigma: Tensor | float) -> Tensor:
        return clean

    def clean(self, predicted: Tensor, noisy: Tensor, signal: float, sigma: float) -> Tensor:
        return predicted

    def unit(self, signal: Any, sigma: Any) -> Any:
        return 1.0 if self.std is None else linear_guess(self.std, signal, sigma)[1]


class PredictVelocity(Objective):
    """v prediction: the derivative along the arc from signal to noise (Salimans & Ho, 2022, appendix D)."""

    def target(self, clean: Tensor, noise: Tensor, signal: Tensor | float, sigma: Tensor | float) -> Tensor:
        return signal * noise - sigma * clean

    def clean(self, predicted: Tensor, noisy: Tensor, signal: float, sigma: float) -> Tensor:
        return signal * noisy - sigma * predicted


class PredictResidual(Objective):
    """Prediction of the error of the best linear estimate of the clean example, scaled to variance 1.

    For little noise it is the noise, for much noise the clean example (Karras et al., 2022, section 5).

    Args:
        std: Standard deviation of the data.
    """

    def __init__(self, std: float) -> None:
        self.std = std

    def target(self, clean: Tensor, noise: Tensor, signal: Tensor | float, sigma: Tensor | float) -> Tensor:
        kept, left = linear_guess(self.std, signal, sigma)
        return (clean - kept * (signal * clean + sigma * noise)) / left

    def clean(self, predicted: Tensor, noisy: Tensor, signal: float, sigma: float) -> Tensor:
        kept, left = linear_guess(self.std, signal, sigma)
        return kept * noisy + left * predicted


def linear_guess(std: Any, signal: Any, sigma: Any) -> tuple[Any, Any]:
    """Return the factor of the noisy example in the best linear estimate of the clean one, and its error's std.

    Args:
        std: Standard deviation of the data.
        signal: Factor of the clean example in the noisy one.
        sigma: Factor of the noise.
    """
    variance = (std * signal) ** 2 + sigma**2
    return signal * std**2 / variance, std * sigma / variance**0.5


class Sampler:
    """One sampling step, from one alpha_bar to a greater one."""

    def step(self, noisy: Tensor, clean: Tensor, now: float, then: float) -> Tensor:
        """Return the example at `then`, given the one at `now` and the predicted clean example."""
        raise NotImplementedError


class Ancestral(Sampler):
    """DDPM's sampling (Ho et al., 2020, algorithm 2): the posterior's mean, and fresh noise.

    Args:
        large: Variance beta rather than the posterior's beta-tilde (section 3.2: the two extreme choices).
    """

    def __init__(self, large: bool = False) -> None:
        self.large = large

    def step(self, noisy: Tensor, clean: Tensor, now: float, then: float) -> Tensor:
        beta = 1 - now / then
        mean = then**0.5 * beta / (1 - now) * clean + (1 - beta) ** 0.5 * (1 - then) / (1 - now) * noisy
        if then == 1:
            return mean
        variance = beta if self.large else beta * (1 - then) / (1 - now)
        return mean + variance**0.5 * torch.randn_like(noisy)


class DDIM(Sampler):
    """Denoising diffusion implicit model (Song et al., 2021, equation 12).

    Args:
        eta: Factor of the fresh noise: 0 is deterministic, 1 is ancestral sampling.
    """

    def __init__(self, eta: float = 0.0) -> None:
        self.eta = eta

    def step(self, noisy: Tensor, clean: Tensor, now: float, then: float) -> Tensor:
        noise = (noisy - now**0.5 * clean) / (1 - now) ** 0.5
        fresh = self.eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5 if self.eta else 0.0
        example = then**0.5 * clean + max(1 - then - fresh**2, 0.0) ** 0.5 * noise
        return example + fresh * torch.randn_like(noisy) if fresh else example


@torch.no_grad()
def denoise(
    predict: Callable[[Tensor, Tensor], Tensor],
    noisy: Tensor,
    trajectory: Trajectory,
    objective: Objective,
    sampler: Sampler,
    clamp_clean: Callable[[Tensor], Tensor] = lambda clean: clean,
    clamp_step: Callable[[Tensor], Tensor] = lambda example: example,
    progress: Callable[[], object] = lambda: None,
) -> Tensor:
    """Sample examples by denoising.

    Args:
        predict: The network: noisy examples `(batch, ...)` and timesteps `(batch,)`, which may be fractional, to the
            quantity that the objective predicts.
        noisy: Initial noisy examples `(batch, ...)`; noise of variance 1 for a whole trajectory.
        trajectory: The sampling trajectory; no noise remains after its last timestep.
        objective: The quantity that the network predicts.
        sampler: The sampling step.
        clamp_clean: Function applied to the predicted clean example; DDPM's official code clips it.
        clamp_step: Function applied to the example after each step; DiffWave's official code clamps it.
        progress: Called after each step.
    """
    for timestep, now, then in zip(
        trajectory.timesteps, trajectory.alpha_bars, (*trajectory.alpha_bars[1:], 1.0), strict=True
    ):
        timesteps = torch.full((len(noisy),), timestep, device=noisy.device)
        predicted = predict(noisy, timesteps).float()
        clean = clamp_clean(objective.clean(predicted, noisy, now**0.5, (1 - now) ** 0.5))
        noisy = clamp_step(sampler.step(noisy, clean, now, then))
        progress()
    return noisy
