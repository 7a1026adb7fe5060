"""A system small enough to train in a test, and the shortest way to do so."""

import lightning as L
import torch
from noise_clips import Noise

from framework.discriminators.multi_period import MultiPeriodDiscriminator
from framework.discriminators.multi_scale import MultiScaleDiscriminator
from framework.generators.hifigan import HiFiGAN


class Tiny(HiFiGAN):
    """Small enough to train in a test."""

    channels = 16
    upsample_rates = (16, 16)
    upsample_kernels = (32, 32)
    residual_block = 2
    kernels = (3,)
    dilations = ((1,),)

    def build_discriminators(self):
        return {
            "multi_period": MultiPeriodDiscriminator(periods=(2, 3), channels=(4, 8, 8)),
            "multi_scale": MultiScaleDiscriminator(
                scales=2, channels=(4, 4, 8, 8, 8, 8, 8), groups=(1, 1, 2, 2, 2, 2, 1)
            ),
        }


class Alone(Tiny):
    """One network, trained on reconstruction losses alone."""

    learning_rate_decay = 1.0

    def build_discriminators(self):
        return {}


def train(system, steps, **arguments):
    """Train on noise; return the trainer."""
    trainer = L.Trainer(
        max_steps=steps, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", **arguments,
    )  # fmt: skip
    trainer.fit(system, datamodule=Noise())
    return trainer


def make(cls=Tiny, **values):
    """Return a system whose weights are the same every time."""
    torch.manual_seed(0)
    return cls(**values)
