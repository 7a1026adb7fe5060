"""HiFi-GAN's training step, whole and inside `Trainer.fit`, beside the official one on the same batch."""

import copy
import importlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import matplotlib  # noqa: F401  (the official code imports it too, and its imports are removed after loading)
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from framework.audio.mel import MelSpectrogram
from framework.bench.harness import BenchError, Benchmark, Candidate
from framework.bench.machine import device, has_bf16, synchronise
from framework.bench.training import Training, training
from framework.generators.hifigan import HiFiGAN
from framework.native.build import library
from framework.runs.importers import load_official

BATCH, SEGMENT = 4, 8192
LIMITS = {"ours": 1e-5, "ours, compiled": 1e-4, "ours, bf16 discriminators": 5e-3}
"""Largest difference of losses from the official ones, and of each network's gradient relative to its norm."""
VERSIONS: dict[str, Any] = {"v2": HiFiGAN.variant(channels=128), "v1": HiFiGAN}


def benchmarks(peers: dict[str, Path]) -> Iterator[Benchmark]:
    """Yield the benchmarks of V2 and V1; `hifi-gan` among the peers is a checkout of jik876/hifi-gan."""
    if "hifi-gan" not in peers:
        raise BenchError("--peer hifi-gan=DIR is needed: a checkout of https://github.com/jik876/hifi-gan")
    # Compute in full float32; a GPU would use TF32 for convolutions.
    torch.backends.cudnn.allow_tf32 = False
    for version, kind in VERSIONS.items():
        yield from benchmark(version, kind, peers["hifi-gan"])


def benchmark(version: str, kind: Any, checkout: Path) -> Iterator[Benchmark]:
    """Yield the benchmark of one version, and stop its training afterwards."""
    torch.manual_seed(0)
    system = kind()
    official = Official(checkout, version, system)
    real = (0.1 * torch.randn(BATCH, 1, SEGMENT)).to(device())
    with training(system, real) as ours:

        def run(step: Callable[[], Any]) -> float:
            step()
            synchronise()
            return 1.0

        def in_pytorch() -> None:
            with patch.dict(os.environ, OSTINATO_NATIVE="0"):
                ours.step()

        def in_bf16() -> None:
            with patch.object(system, "bf16_discriminators", True):
                ours.step()

        steps = {"official": lambda: official.step(real), "ours": in_pytorch}
        if device().type == "cpu" and library("grouped_convolution") is not None:
            steps["ours, compiled"] = ours.step
        if has_bf16():
            steps["ours, bf16 discriminators"] = in_bf16
        yield Benchmark(
            f"HiFi-GAN {version.upper()}, a batch of {BATCH} segments of {SEGMENT} samples",
            "steps",
            "official",
            tuple(Candidate(name, lambda step=step: run(step)) for name, step in steps.items()),
            lambda: check(official, ours, system, real, steps),
            notes="Both networks' updates, with all that `Trainer.fit` does besides. The official step is given the "
            "mels of the real audio, which its loader makes; ours makes them.",
        )


def check(
    official: "Official", ours: Training, system: HiFiGAN, real: Tensor, steps: dict[str, Callable[[], Any]]
) -> str:
    """Compute one step of each candidate from the official weights; compare losses and gradients of both networks."""
    weights = official.weights()
    official.step(real)
    found = []
    for name in steps:
        if name == "official":
            continue
        official.give(system, weights)
        steps[name]()
        losses = max(abs(float(ours.losses[n]) / float(loss) - 1) for n, loss in official.losses.items())
        gradients = {n: distance(ours.gradients[n], official.gradients[n]) for n in official.gradients}
        if not max(losses, *gradients.values()) <= LIMITS[name]:
            raise BenchError(f"{name}: losses differ from the official ones by {losses:.1e}, gradients by {gradients}")
        by_network = ", ".join(f"the {n}'s {error:.1e}" for n, error in gradients.items())
        found.append(f"{name}: losses within {losses:.1e} of the official ones, gradients {by_network}")
    return "; ".join(found) + " of their norms."


def distance(own: list[Tensor], theirs: list[Tensor]) -> float:
    """Return the norm of the difference of gradients, relative to the norm of `theirs`, over all tensors."""
    differences = torch.cat([(o - t).flatten() for o, t in zip(own, theirs, strict=True)])
    return float(differences.norm() / torch.cat([t.flatten() for t in theirs]).norm())


class Official:
    """The training step of the official `train.py`, with the official networks."""

    def __init__(self, checkout: Path, version: str, system: HiFiGAN) -> None:
        self.models = load_models(checkout)
        configuration = json.loads((checkout / f"config_{version}.json").read_text())
        self.generator = self.models.Generator(SimpleNamespace(**configuration)).to(device())
        self.mpd = self.models.MultiPeriodDiscriminator().to(device())
        self.msd = self.models.MultiScaleDiscriminator().to(device())
        discriminators = itertools.chain(self.msd.parameters(), self.mpd.parameters())
        self.optim_g = torch.optim.AdamW(self.generator.parameters(), 2e-4, (0.8, 0.99))
        self.optim_d = torch.optim.AdamW(discriminators, 2e-4, (0.8, 0.99))
        # The official front end does not run with current versions of librosa and torch; ours computes the same values.
        self.mel: nn.Module = copy.deepcopy(system.front_end).to(device())
        self.full_mel: nn.Module = MelSpectrogram(system.preset.full_band()).to(device())
        self.own = {"generator": [system.generator], "discriminator": list(system.discriminators.values())}
        self.mels: tuple[Tensor, Tensor] | None = None
        self.losses: dict[str, Tensor] = {}
        self.gradients: dict[str, list[Tensor]] = {}

    def step(self, real: Tensor) -> None:
        """Update the discriminators, then the generator; the first call stores losses and gradients."""
        first = self.mels is None
        self.mels = self.mels or (self.mel(real), self.full_mel(real))
        mel, full_mel = self.mels
        fake = self.generator(mel)
        fake_mel = self.full_mel(fake)

        self.optim_d.zero_grad()
        logits = [discriminator(real, fake.detach())[:2] for discriminator in (self.mpd, self.msd)]
        loss: Any = sum(self.models.discriminator_loss(*pair)[0] for pair in logits)
        loss.backward()
        if first:
            self.keep("discriminator", loss)
        self.optim_d.step()

        self.optim_g.zero_grad()
        loss = 45 * l1_loss(full_mel, fake_mel)
        for discriminator in (self.mpd, self.msd):
            _, fake_logits, real_maps, fake_maps = discriminator(real, fake)
            loss = loss + self.models.generator_loss(fake_logits)[0] + self.models.feature_loss(real_maps, fake_maps)
        loss.backward()
        if first:
            self.keep("generator", loss)
        self.optim_g.step()

    def networks(self, name: str) -> list[nn.Module]:
        """Return the official networks that are our network of this name."""
        return [self.generator] if name == "generator" else [self.mpd, self.msd]

    def keep(self, name: str, loss: Tensor) -> None:
        """Keep a loss, and the gradient in the order of our parameters."""
        self.losses[name] = loss.detach()
        self.gradients[name] = []
        for network, own in zip(self.networks(name), self.own[name], strict=True):
            gradients = {n: p.grad for n, p in network.named_parameters()}
            renamed = copy.deepcopy(own)
            load_official(renamed, {"gradients": network.state_dict() | gradients})
            self.gradients[name] += [parameter.detach() for parameter in renamed.parameters()]

    def weights(self) -> dict[str, list[dict[str, Tensor]]]:
        """Return copies of the official weights."""
        return {name: [copy.deepcopy(n.state_dict()) for n in self.networks(name)] for name in self.own}

    def give(self, system: HiFiGAN, weights: dict[str, list[dict[str, Tensor]]]) -> None:
        """Load official weights into our networks, and let our optimisers begin anew."""
        for name, networks in self.own.items():
            for own, state in zip(networks, weights[name], strict=True):
                load_official(own, {"weights": state})
        for optimizer in system.trainer.optimizers:
            optimizer.state.clear()


def load_models(checkout: Path) -> Any:
    """Return the official module of networks.

    Raises:
        BenchError: the checkout is none of jik876/hifi-gan.
    """
    if not (checkout / "models.py").is_file():
        raise BenchError(f"{checkout} is no checkout of jik876/hifi-gan: it has no models.py")
    # Its modules have names as common as `utils`.
    with patch.object(sys, "path", [str(checkout), *sys.path]), patch.dict(sys.modules):
        return importlib.import_module("models")
