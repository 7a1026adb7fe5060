"""Adversarial training of a generator against any set of discriminators, with any reconstruction losses beside it."""

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from framework.annotations import NonNegativeFloat, NonNegativeInt, PositiveInt
from framework.discriminators.base import Discriminator, DiscriminatorOutput, normalised_once
from framework.hyperparameters import added
from framework.losses.adversarial import AdversarialLoss, LeastSquares
from framework.losses.feature_matching import FeatureMatching
from framework.paradigms.system import System, Terms


class Adversarial(System):
    """A generator and its discriminators, updated in turn (Goodfellow et al., 2014).

    One step is the papers' order: make the fake, update the discriminators, update the generator.

    A discriminator's losses, of both sides, are weighted by the hyperparameter `<name>_weight`, if there is one.

    Args:
        adversarial_weight: Weight of the generator's adversarial loss.
        feature_matching_weight: Weight of the feature matching loss.
        adversarial_start: Steps on the reconstruction losses alone before the discriminators join.
        match_before_update: Match the features that the discriminators gave the real audio before their own update
            (MelGAN's official code), which saves a pass over it.
        critic_steps: Updates of the discriminators to one of the generator (Arjovsky et al., 2017, algorithm 1), each
            on its own equal part of a batch; the generator's is on the last one.
        bf16_discriminators: Whether the discriminators, most of a step's work, compute in bf16, where the generator may
            stay in float32. Their weights, and the losses, are float32 still.
    """

    learning_rate = 2e-4
    betas = (0.8, 0.99)
    weight_decay = 0.01
    learning_rate_decay = 0.999
    adversarial_weight: NonNegativeFloat = 1.0
    feature_matching_weight: NonNegativeFloat = 2.0
    adversarial_start: NonNegativeInt = 0
    match_before_update: bool = False
    critic_steps: PositiveInt = added(1)
    bf16_discriminators: bool = added(False)

    def build(self) -> None:
        """Make the networks and the losses."""
        super().build()
        self.discriminators: Any = nn.ModuleDict(self.build_discriminators())
        self.adversarial_loss = self.build_adversarial_loss()
        self.feature_matching = self.build_feature_matching()

    def build_discriminators(self) -> dict[str, Discriminator]:
        """Return the discriminators by name; none leaves the reconstruction losses alone."""
        return {}

    def build_adversarial_loss(self) -> AdversarialLoss:
        """Return the pair of losses that discriminators and generator play against each other."""
        return LeastSquares()

    def build_feature_matching(self) -> FeatureMatching:
        """Return the loss between the discriminators' feature maps of real and fake audio."""
        return FeatureMatching()

    def networks(self) -> dict[str, nn.Module]:
        """Return the generator and, if there are any, the discriminators as one."""
        return super().networks() | ({"discriminator": self.discriminators} if self.discriminators else {})

    @property
    def discriminating(self) -> bool:
        """Whether the discriminators take part in this step."""
        return bool(self.adversarial_weight and self.discriminators and self.global_step >= self.adversarial_start)

    def weight(self, name: str) -> float:
        """Return the weight of a named loss term, or of a discriminator's."""
        return super().weight(name.removeprefix("discriminator/").removesuffix("_penalty"))

    def produce(self, batch: dict[str, Any]) -> tuple[Tensor, Terms]:
        """Return the generator's examples, and loss terms that do not compare them, as of a bottleneck; in training."""
        return self.generator(self.condition(batch)), {}

    def watch(self, fake: Tensor, terms: Terms) -> None:
        """Look at the generator's loss terms of its examples before they are weighted."""

    def judge(self, name: str, example: Tensor, batch: dict[str, Any]) -> DiscriminatorOutput:
        """Return what a discriminator makes of an example; a conditional one is told of the batch's labels too."""
        return self.discriminators[name](example)

    def terms(self, batch: dict[str, Any]) -> Terms:
        """Return the generator's loss terms of a batch by itself."""
        return Turn(self, batch).generator_terms()

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Terms:
        """Make the fake, update the discriminators, update the generator; return its weighted loss as `loss`."""
        *earlier, last = self.parts(batch, "critic_steps")
        for share in earlier:
            if self.discriminating:
                self.update("discriminator", [Turn(self, part).discriminator_terms for part in self.parts(share)])
        turns = [Turn(self, part) for part in self.parts(last)]
        if len(turns) == 1:
            # One fake serves both updates; the graphs of several parts would not fit into memory together.
            turns[0].generate()
        if self.discriminating:
            self.update("discriminator", [turn.discriminator_terms for turn in turns])
        with frozen(self.discriminators):
            self.update("generator", [turn.generator_terms for turn in turns])
        return dict(self.step_output)


class Turn:
    """One part of a batch in both updates of a step: its examples, the fake, and what was made of the real before."""

    def __init__(self, system: Adversarial, batch: dict[str, Any]) -> None:
        self.system, self.batch, self.real = system, batch, system.example(batch)
        self.fake: Tensor | None = None
        self.own: Terms = {}
        self.before: dict[str, DiscriminatorOutput] = {}

    def generate(self) -> Tensor:
        """Make and return the generator's examples."""
        self.fake, self.own = self.system.produce(self.batch)
        return self.fake

    def discriminator_terms(self) -> Terms:
        """Return the discriminators' losses on real and fake audio, neither with a graph to the generator."""
        loss, terms = self.system.adversarial_loss, {}
        with torch.no_grad():
            fake = (self.system.produce(self.batch)[0] if self.fake is None else self.fake.detach()).float()
        for name in self.system.discriminators:
            judge = partial(self.judge, name)
            with self.weights_of(name):
                real_output = judge(self.real)
                terms[f"discriminator/{name}"] = loss.discriminator(real_output[0], judge(fake)[0])
                penalty = loss.penalty(judge, self.real, fake)
            if penalty is not None:
                terms[f"discriminator/{name}_penalty"] = penalty
            if self.system.match_before_update:
                self.before[name] = real_output
        return terms

    def generator_terms(self) -> Terms:
        """Return the generator's losses; the discriminators are frozen and keep no graph of the real audio."""
        system, fake = self.system, (self.generate() if self.fake is None else self.fake).float()
        terms = {name: loss(fake, self.real) for name, loss in system.losses.items() if system.weight(name)}
        if system.discriminating:
            terms = self.discriminated(fake) | terms
        system.watch(fake, terms)
        return terms | self.own

    def discriminated(self, fake: Tensor) -> Terms:
        """Return the generator's losses that the discriminators judge by."""
        system = self.system
        adversarial, matching = fake.new_zeros(()), fake.new_zeros(())
        for name in system.discriminators:
            weight = system.weight(name)
            # The real audio first, as in official codes: spectral norms iterate at every pass.
            with self.weights_of(name):
                real_output = self.real_output(name) if system.feature_matching_weight else None
                fake_output = self.judge(name, fake)
            adversarial = adversarial + weight * system.adversarial_loss.generator(fake_output[0])
            if real_output is not None:
                matching = matching + weight * system.feature_matching(real_output, fake_output)
        return {"adversarial": adversarial, "feature_matching": matching}

    def weights_of(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Let a discriminator normalise its weights once for all its passes in an update."""
        # What is compiled has the normalisation in it.
        compiled = self.system.compile_networks
        return contextlib.nullcontext() if compiled else normalised_once(self.system.discriminators[name])

    @torch.no_grad()
    def real_output(self, name: str) -> DiscriminatorOutput:
        """Return what a discriminator makes of the real audio, now or before its own update."""
        return self.before[name] if name in self.before else self.judge(name, self.real)

    def judge(self, name: str, example: Tensor) -> DiscriminatorOutput:
        """Return what a discriminator makes of an example of this batch, in the arithmetic of discriminators."""
        if not self.system.bf16_discriminators:
            return self.system.judge(name, example, self.batch)
        with torch.autocast(example.device.type, torch.bfloat16):
            return self.system.judge(name, example, self.batch)


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep a network's parameters out of the graph: their gradients are neither computed nor kept."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
