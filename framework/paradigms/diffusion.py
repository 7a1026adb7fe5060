"""Diffusion: a network that removes noise, trained at every level of it, turns noise into audio (Ho et al., 2020)."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from framework.annotations import NonEmpty, NonNegativeInt, OpenUnitInterval, Range
from framework.hyperparameters import runtime
from framework.paradigms.noise_schedules import (
    DDIM,
    Ancestral,
    NoiseSchedule,
    Objective,
    PredictNoise,
    Trajectory,
    denoise,
)
from framework.paradigms.system import System, Terms
from framework.progress import Progress

MEASURED_LEVELS = 8


class Diffusion(System):
    """A denoising network `network(noisy, levels, **condition)` of the shape of its examples (Ho et al., 2020).

    Training draws a level for each example and noise, and compares what the network predicts with what the objective
    asks for (algorithm 1, with the simple, unweighted loss of equation 14). `build_schedule` and `build_objective`
    choose how much noise a level has, and what is predicted.

    Judged by `loss`: the training loss on held-out clips at evenly spaced levels, with the same noise every time.

    Args:
        levels: Levels of noise that are trained.
        first_beta: Variance of the noise that the first level adds.
        last_beta: The same of the last.
        distance: L1 or L2 distance between predicted and true.
        sampler: `fast` goes by `fast_betas`; `ancestral` (DDPM) and `ddim` by `sampling_steps` of the levels.
        sampling_steps: Steps of the `ancestral` and `ddim` samplers; 0 for all levels.
        fast_betas: Noise schedule of the `fast` sampler, aligned with the levels that were trained.
        clamped: What sampling clamps to [-1, 1]: the example after each `step`, noise and all, as lmnt's DiffWave; or
            the `clean` one that the network sees in it, as DDPM, which schedules that end in pure noise need; or
            nothing, where examples have other limits.
    """

    monitor: ClassVar[str] = "validation/loss"

    levels: Annotated[int, Range(1, 1_000_000)] = 50
    first_beta: OpenUnitInterval = 1e-4
    last_beta: OpenUnitInterval = 0.05
    distance: Literal["l1", "l2"] = "l1"
    sampler: Literal["fast", "ancestral", "ddim"] = runtime("fast")
    sampling_steps: NonNegativeInt = runtime(0)
    fast_betas: NonEmpty[OpenUnitInterval] = runtime((1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5))
    clamped: Literal["step", "clean", "nothing"] = runtime("step")

    def build(self) -> None:
        """Make the schedule, the objective and the network.

        Raises:
            ValueError: a schedule with betas beyond (0, 1), or a way back that it does not have.
        """
        super().build()
        self.noise_schedule = self.build_schedule()
        self.objective = self.build_objective()
        self.trajectory()

    def build_schedule(self) -> NoiseSchedule:
        """Return how much noise each level has."""
        return NoiseSchedule.linear(self.levels, self.first_beta, self.last_beta)

    def build_objective(self) -> Objective:
        """Return what the network predicts."""
        return PredictNoise()

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return what the network is given beside noisy examples and levels, by its argument's name."""
        return {}

    def terms(self, batch: dict[str, Any]) -> Terms:
        """Return the loss at levels drawn for each example."""
        clean = self.example(batch)
        levels = torch.randint(len(self.noise_schedule), (len(clean),), device=clean.device)
        return {"denoising": self.loss(self.generator, clean, torch.randn_like(clean), levels, self.condition(batch))}

    def loss(self, network: Any, clean: Tensor, noise: Tensor, levels: Tensor, condition: dict[str, Tensor]) -> Tensor:
        """Return the distance between what the network predicts at levels `(batch,)` and what it should."""
        predicted = network(self.noise_schedule(clean, noise, levels), levels, **condition).float()
        scales = self.noise_schedule.scales(levels, clean)
        return self.objective.loss(predicted, clean, noise, *scales, l1_loss if self.distance == "l1" else mse_loss)

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Terms:
        """Return the loss of held-out clips at evenly spaced levels, with the same noise whatever was drawn before."""
        batch = self.whole_frames(batch)
        clean, condition = self.example(batch), self.condition(batch)
        levels = torch.linspace(0, len(self.noise_schedule) - 1, MEASURED_LEVELS).round().long().to(clean.device)
        generator, losses = torch.Generator().manual_seed(0), []
        for level in levels:
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            losses.append(self.loss(self.judged, clean, noise, level.repeat(len(clean)), condition))
        return {"loss": torch.stack(losses).mean()}

    def clamps(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return what sampling clamps, as arguments of `denoise`."""
        return {} if self.clamped == "nothing" else {f"clamp_{self.clamped}": lambda example: example.clamp(-1, 1)}

    def trajectory(self) -> Trajectory:
        """Return the levels that sampling goes by."""
        schedule = self.noise_schedule
        return schedule.aligned(self.fast_betas) if self.sampler == "fast" else schedule.trajectory(self.sampling_steps)

    @torch.no_grad()
    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Return an example of the shape of the batch's, out of noise."""
        batch, way = self.whole_frames(batch), self.trajectory()
        noise = torch.randn_like(self.example(batch))
        if not noise.numel():
            return noise
        condition = self.condition(batch)
        with Progress("denoising", len(way.levels), "steps") as shown:
            return denoise(
                lambda noisy, levels: self.judged(noisy, levels, **condition),
                noise,
                way,
                self.objective,
                DDIM() if self.sampler == "ddim" else Ancestral(),
                **self.clamps(),
                progress=shown.update,
            )
