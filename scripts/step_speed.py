"""The training step of HiFi-GAN V3 beside the official one: both in one process, in turns, on the same batch.

git clone https://github.com/jik876/hifi-gan
python scripts/step_speed.py hifi-gan --steps 10 --batch 4
"""

import argparse
import itertools
import json
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from torch.nn.functional import l1_loss

from experiments.hifigan_v3 import HiFiGANV3


class OneBatch(L.LightningDataModule):
    """The same batch of noise for every step."""

    def __init__(self, audio: torch.Tensor) -> None:
        super().__init__()
        self.audio, self.sample_rate = audio, 22050

    def train_dataloader(self) -> Any:
        return torch.utils.data.DataLoader([{"audio": self.audio}] * 10_000, batch_size=None)

    def advance(self, batch: Any) -> None:
        pass


class Official:
    """The official training step, as its `train.py` has it, on networks from a checkout."""

    def __init__(self, checkout: Path, system: HiFiGANV3) -> None:
        sys.path.insert(0, str(checkout))
        import models  # type: ignore[import-not-found]

        self.models, self.mel, self.loss_mel = models, system.front_end, system.losses["mel"].mel
        self.generator = models.Generator(SimpleNamespace(**json.loads((checkout / "config_v3.json").read_text())))
        self.mpd, self.msd = models.MultiPeriodDiscriminator(), models.MultiScaleDiscriminator()
        discriminators = itertools.chain(self.msd.parameters(), self.mpd.parameters())
        self.optim_g = torch.optim.AdamW(self.generator.parameters(), 2e-4, (0.8, 0.99))
        self.optim_d = torch.optim.AdamW(discriminators, 2e-4, (0.8, 0.99))

    def step(self, real: torch.Tensor) -> None:
        """Update the discriminators, then the generator."""
        fake = self.generator(self.mel(real))
        self.optim_d.zero_grad()
        losses = [self.models.discriminator_loss(*d(real, fake.detach())[:2])[0] for d in (self.mpd, self.msd)]
        sum(losses).backward()  # type: ignore[union-attr]
        self.optim_d.step()
        self.optim_g.zero_grad()
        loss = 45 * l1_loss(self.loss_mel(real), self.loss_mel(fake))
        for discriminator in (self.mpd, self.msd):
            _, logits, real_maps, fake_maps = discriminator(real, fake)
            loss = loss + self.models.generator_loss(logits)[0] + self.models.feature_loss(real_maps, fake_maps)
        loss.backward()
        self.optim_g.step()


class InTurns(L.Callback):
    """Times each of our steps, and an official one after it."""

    def __init__(self, official: Official) -> None:
        self.official, self.times = official, {"ours": [], "official": []}

    def on_train_batch_start(self, *_: Any) -> None:
        self.begin = time.perf_counter()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *_: Any) -> None:
        between = time.perf_counter()
        self.official.step(batch["audio"])
        self.times["ours"].append(between - self.begin)
        self.times["official"].append(time.perf_counter() - between)


def main() -> None:
    """Print the median and the range of the ratio, after one step of warm-up."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a checkout of jik876/hifi-gan")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    system = HiFiGANV3()
    turns = InTurns(Official(arguments.checkout, system))
    L.Trainer(
        max_steps=arguments.steps + 1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", callbacks=[turns],
    ).fit(system, datamodule=OneBatch(0.1 * torch.randn(arguments.batch, 1, 8192)))  # fmt: skip
    ours, official = turns.times["ours"][1:], turns.times["official"][1:]
    ratios = sorted(theirs / own for own, theirs in zip(ours, official, strict=True))
    median, low, high = statistics.median(ratios), ratios[0], ratios[-1]
    print(f"official / ours: median {median:.2f} [{low:.2f} .. {high:.2f}], {len(ratios)} steps")


if __name__ == "__main__":
    main()
