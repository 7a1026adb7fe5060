"""A real `ostinato fit` of a tiny adversarial system, to be killed, starved and compared bit for bit.

Usage: small_run.py DIRECTORY [overrides ...]; run as a script, so that Lightning's launcher can start further ranks.
"""

import os
import sys
from pathlib import Path

import numpy as np

HERE = Path(sys.argv[1])
os.chdir(HERE)
os.environ["OSTINATO_CACHE"] = str(HERE.parent / "cache")

import torch  # noqa: E402

from datamodules.audio_folder import AudioFolder  # noqa: E402
from datamodules.shards.writer import ShardWriter, write_manifest  # noqa: E402
from framework import catalogue  # noqa: E402
from framework.cli import main  # noqa: E402
from framework.discriminators.multi_period import MultiPeriodDiscriminator  # noqa: E402
from framework.discriminators.multi_scale import MultiScaleDiscriminator  # noqa: E402
from framework.generators.hifigan import HiFiGAN  # noqa: E402
from framework.workflow import experiment  # noqa: E402

torch.set_num_threads(1)


class Small(HiFiGAN):
    """Every part that a run can have: dropout, averaged weights, a spectral norm, two optimisers, schedules."""

    data = AudioFolder.variant(path=str(HERE.parent / "data"), segment=1024, batch_size=4, validation_clips=1)
    channels = 8
    upsample_rates = (16, 16)
    upsample_kernels = (32, 32)
    residual_block = 2
    kernels = (3,)
    dilations = ((1,),)
    dropout: float = 0.1
    ema_decay = 0.9
    warmup_steps = 5
    learning_rate_decay = 0.9
    gradient_clip = 50.0
    max_steps = 40
    val_check_interval = 7

    def build_generator(self):
        network = super().build_generator()
        network.conv_pre = torch.nn.Sequential(network.conv_pre, torch.nn.Dropout(self.dropout))
        return network

    def build_discriminators(self):
        return {
            "multi_period": MultiPeriodDiscriminator(periods=(2,), channels=(4, 8)),
            "multi_scale": MultiScaleDiscriminator(
                scales=1, channels=(4, 4, 8, 8, 8, 8, 8), groups=(1, 1, 2, 2, 2, 2, 1)
            ),
        }


def write_data(folder):
    """Write shards of noise."""
    noise = np.random.default_rng(0)
    for split, count in (("train", 50), ("validation", 1)):
        with ShardWriter(folder, split, shard_bytes=50_000) as writer:
            for number in range(count):
                writer.write(f"{split}{number}", noise.uniform(-0.5, 0.5, int(noise.integers(3000, 9000))), 22050)
    write_manifest(folder)


if __name__ == "__main__":
    if not (HERE.parent / "data").exists():
        write_data(HERE.parent / "data")
    experiment.find = catalogue.find = lambda name: Small
    sys.exit(main(["fit", "small", "--trainer.accelerator=cpu", "--trainer.log_every_n_steps=1", *sys.argv[2:]]))
