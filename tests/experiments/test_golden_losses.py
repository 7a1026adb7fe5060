"""The first losses of every experiment, as they were when they were last looked at.

Whatever changes them on purpose writes them anew: `OSTINATO_GOLDEN=write pytest -n 0 tests/experiments`.
"""

import gc
import json
import os
from pathlib import Path

import lightning as L
import pytest
import torch

from framework.catalogue import describe_module, find, modules
from framework.generators.latent.pretrained import NotTrainedError

GOLDEN = Path(__file__).with_name("golden_losses.json")
NAMES = [entry.name for module in modules().values() for entry in describe_module(module)]
LARGE = 2_000_000  # parameters from which one step takes seconds, and an ablation is not looked at beside its base
HUGE = 100_000_000  # from which a network is looked at in a smaller size alone


class Tone(L.LightningDataModule):
    """The same second or so of a tone in noise, with its pitch and its instrument."""

    def __init__(self, system):
        super().__init__()
        self.sample_rate, self.hop = system.preset.sample_rate, getattr(system, "control_hop", 64)
        self.stand_in = getattr(system, "stand_in", None)
        frame = system.preset.hop_length
        self.time = getattr(system, "length", min(64 * self.hop, 16_384) // frame * frame)
        self.clips = getattr(system, "critic_steps", 1)

    def train_dataloader(self):
        if self.stand_in:
            batch = self.stand_in()
            batch |= {"image": batch["image"][:, :, :32]} if "image" in batch else {}
            return torch.utils.data.DataLoader([batch] * 2, batch_size=None)
        seconds = torch.arange(self.time) / self.sample_rate
        noise = torch.randn(self.time, generator=torch.Generator().manual_seed(0))
        audio = (0.3 * torch.sin(2 * torch.pi * 440 * seconds) + 0.02 * noise).view(1, 1, -1)
        f0 = torch.full((1, self.time // self.hop), 440.0)
        batch = {"audio": audio, "f0": f0, "instrument": torch.zeros(1, dtype=torch.long)}
        batch = {name: value.repeat(self.clips, *[1] * (value.dim() - 1)) for name, value in batch.items()}
        batch |= {"key": ["tone"] * self.clips}
        return torch.utils.data.DataLoader([batch] * 2, batch_size=None)

    def advance(self, batch):
        pass


class Losses(L.Callback):
    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        self.seen.append(round(trainer.callback_metrics["train/generator"].item(), 5))


def parameters_of(system):
    return sum(p.numel() for network in system.networks().values() for p in network.parameters())


def first_losses(name):
    """Train the first steps; return the generator's losses."""
    torch.manual_seed(0)
    os.environ["PL_GLOBAL_SEED"] = "0"
    system = find(name)()
    steps = 2 if parameters_of(system) < LARGE else 1
    data = Tone(system)
    losses = Losses()
    trainer = L.Trainer(
        max_steps=steps, logger=False, callbacks=[losses], enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    before = [p.detach().clone() for p in system.generator.parameters()]
    trainer.fit(system, datamodule=data)
    assert all(torch.isfinite(p).all() for p in system.parameters())
    assert any(not torch.equal(b, p) for b, p in zip(before, system.generator.parameters(), strict=True))
    # Trainer and system hold each other; fifty of them at a time would fill the memory.
    del trainer, system
    gc.collect()
    return losses.seen


@pytest.mark.parametrize("name", NAMES)
def test_first_losses_are_those_known(name):
    try:
        if not find(name)().has_weights:
            pytest.skip("there is nothing to train")
    except NotTrainedError:
        pytest.skip("it stands on another system, which has to be trained first")
    known = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if name.startswith("ablations.") and parameters_of(find(name)()) > LARGE:
        pytest.skip("what it is an ablation of is looked at, and takes seconds")
    if sum(p.numel() for p in find(name)().generator.parameters()) > HUGE:
        pytest.skip("its smaller sizes are looked at")
    seen = first_losses(name)
    if os.environ.get("OSTINATO_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(dict(sorted((known | {name: seen}).items())), indent=1) + "\n")
        return
    assert name in known, f"no losses are known of {name}: OSTINATO_GOLDEN=write pytest -n 0 tests/experiments"
    # Rounding differs between processors, and an update by Adam is as large for a gradient that is rounding alone.
    for found, expected, tolerance in zip(seen, known[name], (1e-2, 0.2), strict=False):
        assert found == pytest.approx(expected, rel=tolerance, abs=2e-3)
