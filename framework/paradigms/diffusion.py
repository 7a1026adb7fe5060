"""Denoising diffusion (Ho et al., 2020)."""

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
from framework.paradigms.system import Losses, System
from framework.progress import Progress

MEASURED_TIMESTEPS = 8


class Diffusion(System):
    """A denoising network `network(noisy, timesteps, **condition)` whose output has the shape of its examples.

    Training draws a timestep and noise for each example and minimises the distance between the network's prediction and
    the objective's target (Ho et al., 2020, algorithm 1, with the unweighted loss of equation 14). `build_schedule` and
    `build_objective` return the noise schedule and the quantity that is predicted.

    The monitored metric is `validation/loss`: the training loss of held-out clips at evenly spaced timesteps, with the
    same noise in every validation.

    Args:
        timesteps: Number of timesteps of the training's noise schedule.
        beta_start: Variance of the noise that the first timestep adds.
        beta_end: Variance of the noise that the last timestep adds.
        loss_type: Distance between prediction and target: `l1` or `l2`.
        sampler: `fast` uses the schedule `fast_betas`; `ancestral` (DDPM) and `ddim` use `sampling_steps` timesteps.
        sampling_steps: Steps of the `ancestral` and `ddim` samplers; 0 for all timesteps.
        fast_betas: Noise schedule of the `fast` sampler, aligned with the timesteps of the training.
        clip_sample: What sampling clips to [-1, 1]: `step`, the noisy example after each step, as in lmnt's DiffWave;
            `clean`, the predicted clean example, as in DDPM, which is needed by schedules that end in pure noise; or
            `nothing`, for examples with another range.
    """

    monitor: ClassVar[str] = "validation/loss"

    timesteps: Annotated[int, Range(1, 1_000_000)] = 50
    beta_start: OpenUnitInterval = 1e-4
    beta_end: OpenUnitInterval = 0.05
    loss_type: Literal["l1", "l2"] = "l1"
    sampler: Literal["fast", "ancestral", "ddim"] = runtime("fast")
    sampling_steps: NonNegativeInt = runtime(0)
    fast_betas: NonEmpty[OpenUnitInterval] = runtime((1e-4, 1e-3, 0.01, 0.05, 0.2, 0.5))
    clip_sample: Literal["step", "clean", "nothing"] = runtime("step")

    def build(self) -> None:
        """Build the noise schedule, the objective and the network.

        Raises:
            ValueError: betas are outside (0, 1), or the sampling trajectory does not fit the schedule.
        """
        super().build()
        self.noise_schedule = self.build_schedule()
        self.objective = self.build_objective()
        self.trajectory()

    def build_schedule(self) -> NoiseSchedule:
        """Return the noise schedule of the training."""
        return NoiseSchedule.linear(self.timesteps, self.beta_start, self.beta_end)

    def build_objective(self) -> Objective:
        """Return the objective: the quantity that the network predicts."""
        return PredictNoise()

    def condition(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """Return the network's further inputs, beside noisy examples and timesteps, by argument name."""
        return {}

    def training_losses(self, batch: dict[str, Any]) -> Losses:
        """Return the loss at a random timestep for each example."""
        clean = self.example(batch)
        timesteps = torch.randint(len(self.noise_schedule), (len(clean),), device=clean.device)
        return {
            "denoising": self.loss(self.generator, clean, torch.randn_like(clean), timesteps, self.condition(batch))
        }

    def loss(
        self, network: Any, clean: Tensor, noise: Tensor, timesteps: Tensor, condition: dict[str, Tensor]
    ) -> Tensor:
        """Return the distance between what the network predicts at timesteps `(batch,)` and what it should."""
        predicted = network(self.noise_schedule(clean, noise, timesteps), timesteps, **condition).float()
        scales = self.noise_schedule.scales(timesteps, clean)
        return self.objective.loss(predicted, clean, noise, *scales, l1_loss if self.loss_type == "l1" else mse_loss)

    @torch.no_grad()
    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return the loss of a held-out clip at evenly spaced timesteps, with the same noise every time."""
        batch = self.pad_to_hop(batch)
        clean, condition = self.example(batch), self.condition(batch)
        timesteps = torch.linspace(0, len(self.noise_schedule) - 1, MEASURED_TIMESTEPS).round().long().to(clean.device)
        generator, losses = torch.Generator().manual_seed(0), []
        for timestep in timesteps:
            noise = torch.randn(clean.shape, generator=generator).to(clean)
            losses.append(self.loss(self.eval_generator, clean, noise, timestep.repeat(len(clean)), condition))
        return {"loss": torch.stack(losses).mean()}

    def clamps(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """Return the clipping functions of the sampler, as arguments of `denoise`."""
        return {} if self.clip_sample == "nothing" else {f"clamp_{self.clip_sample}": lambda x: x.clamp(-1, 1)}

    def trajectory(self) -> Trajectory:
        """Return the sampling trajectory."""
        schedule = self.noise_schedule
        return schedule.aligned(self.fast_betas) if self.sampler == "fast" else schedule.trajectory(self.sampling_steps)

    @torch.no_grad()
    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Sample examples of the shape of the batch's."""
        batch, way = self.pad_to_hop(batch), self.trajectory()
        noise = torch.randn_like(self.example(batch))
        if not noise.numel():
            return noise
        condition = self.condition(batch)
        with Progress("denoising", len(way.timesteps), "steps") as shown:
            return denoise(
                lambda noisy, timesteps: self.eval_generator(noisy, timesteps, **condition),
                noise,
                way,
                self.objective,
                DDIM() if self.sampler == "ddim" else Ancestral(),
                **self.clamps(),
                progress=shown.update,
            )
