"""Adversarial training: a generator, any set of discriminators, and any reconstruction losses.

Read `Adversarial.training_step` first: it is the algorithm of the papers. The methods below it compute the losses of
its two updates.
"""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from framework.annotations import NonNegativeFloat, NonNegativeInt, PositiveInt
from framework.discriminators.base import Discriminator, DiscriminatorOutput, normalised_once
from framework.hyperparameters import added
from framework.losses.adversarial import AdversarialLoss, LeastSquares
from framework.losses.feature_matching import FeatureMatching
from framework.paradigms.system import Losses, System


class Adversarial(System):
    """A generator and discriminators that are updated alternately (Goodfellow et al., 2014).

    A training step generates audio, updates the discriminators and then updates the generator. If the system has a
    hyperparameter `<name>_weight` for a discriminator, it weights that discriminator's losses in both updates.

    Args:
        adversarial_weight: Weight of the generator's adversarial loss.
        feature_matching_weight: Weight of the feature matching loss.
        adversarial_start: Number of first steps that train the generator on the reconstruction losses alone.
        match_before_update: Compute feature matching with the discriminators' feature maps of the real audio from
            before their update (as MelGAN's official code does), which saves a forward pass.
        critic_steps: Discriminator updates for each generator update (Arjovsky et al., 2017, algorithm 1). A batch is
            divided into as many equal parts, one for each; the generator is updated on the last part.
        bf16_discriminators: Run the discriminators, which take most of a step's time, in bf16. Their weights and the
            losses remain float32.
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

    def build_training(self) -> None:
        """Build the losses and the discriminators."""
        super().build_training()
        self.discriminators: Any = nn.ModuleDict(self.build_discriminators())
        self.adversarial_loss = self.build_adversarial_loss()
        self.feature_matching = self.build_feature_matching()

    # What a system overrides, in the order in which it is called

    def build_discriminators(self) -> dict[str, Discriminator]:
        """Return the discriminators by name; without any, only the reconstruction losses are minimised."""
        return {}

    def build_adversarial_loss(self) -> AdversarialLoss:
        """Return the adversarial loss of discriminators and generator."""
        return LeastSquares()

    def build_feature_matching(self) -> FeatureMatching:
        """Return the loss between the discriminators' feature maps of real and generated audio."""
        return FeatureMatching()

    def produce(self, batch: dict[str, Any]) -> tuple[Tensor, Losses]:
        """Return generated examples and the generator's losses that do not compare examples, such as of a codebook."""
        return self.generator(self.condition(batch)), {}

    def discriminate(self, name: str, example: Tensor, batch: dict[str, Any]) -> DiscriminatorOutput:
        """Run one discriminator. Conditional discriminators also receive the labels of the batch."""
        return self.discriminators[name](example)

    def on_generator_losses(self, fake: Tensor, losses: Losses) -> None:
        """Hook, called with the generated examples and the generator's unweighted losses of them."""

    # One step

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Losses:
        """Update the discriminators and then the generator; return the generator's weighted loss as `loss`."""
        *earlier, last = self.micro_batches(batch, "critic_steps")
        for part in earlier:
            if self.discriminators_active:
                self.update_discriminators([StepState(b, self.example(b)) for b in self.micro_batches(part)])
        steps = [StepState(b, self.example(b)) for b in self.micro_batches(last)]
        if len(steps) == 1:
            # Both updates use one forward pass of the generator. The graphs of several micro-batches do not fit into
            # memory at the same time, so that these are generated again for the generator's update.
            self.generate_fake(steps[0])
        if self.discriminators_active:
            self.update_discriminators(steps)
        with frozen(self.discriminators):
            self.update("generator", [partial(self.generator_losses, step) for step in steps])
        return dict(self.step_output)

    @property
    def discriminators_active(self) -> bool:
        """Whether the discriminators take part in this step."""
        return bool(self.adversarial_weight and self.discriminators and self.global_step >= self.adversarial_start)

    def update_discriminators(self, steps: list["StepState"]) -> None:
        """Update the discriminators on micro-batches."""
        self.update("discriminator", [partial(self.discriminator_losses, step) for step in steps])

    def discriminator_losses(self, step: "StepState") -> Losses:
        """Return the discriminators' losses on real and generated audio; no gradient reaches the generator."""
        losses: Losses = {}
        with torch.no_grad():
            fake = (self.produce(step.batch)[0] if step.fake is None else step.fake.detach()).float()
        for name in self.discriminators:
            discriminator = self.discriminator_for(step.batch, name)
            with self.weights_normalised_once(name):
                real_output = discriminator(step.real)
                fake_output = discriminator(fake)
                losses[f"discriminator/{name}"] = self.adversarial_loss.discriminator(real_output[0], fake_output[0])
                penalty = self.adversarial_loss.penalty(discriminator, step.real, fake)
            if penalty is not None:
                losses[f"discriminator/{name}_penalty"] = penalty
            if self.match_before_update:
                step.real_outputs[name] = real_output
        return losses

    def generator_losses(self, step: "StepState") -> Losses:
        """Return the reconstruction, adversarial and feature-matching losses of the generated audio."""
        fake = (self.generate_fake(step) if step.fake is None else step.fake).float()
        losses = {name: loss(fake, step.real) for name, loss in self.losses.items() if self.loss_weight(name)}
        if self.discriminators_active:
            losses = self.losses_from_discriminators(step, fake) | losses
        self.on_generator_losses(fake, losses)
        return losses | step.other_losses

    def losses_from_discriminators(self, step: "StepState", fake: Tensor) -> Losses:
        """Return the generator's adversarial and feature-matching losses, weighted sums over the discriminators."""
        adversarial, matching = fake.new_zeros(()), fake.new_zeros(())
        for name in self.discriminators:
            weight, discriminator = self.loss_weight(name), self.discriminator_for(step.batch, name)
            # The real audio first, as in official codes: spectral norms iterate at every pass.
            with self.weights_normalised_once(name):
                real_output = None
                if self.feature_matching_weight:
                    with torch.no_grad():
                        real_output = step.real_outputs.get(name) or discriminator(step.real)
                fake_output = discriminator(fake)
            adversarial = adversarial + weight * self.adversarial_loss.generator(fake_output[0])
            if real_output is not None:
                matching = matching + weight * self.feature_matching(real_output, fake_output)
        return {"adversarial": adversarial, "feature_matching": matching}

    def generate_fake(self, step: "StepState") -> Tensor:
        """Generate the examples of a micro-batch, keep them for both updates and return them."""
        step.fake, step.other_losses = self.produce(step.batch)
        return step.fake

    # Details

    def training_losses(self, batch: dict[str, Any]) -> Losses:
        """Return the generator's losses of a batch, as outside of a training step."""
        return self.generator_losses(StepState(batch, self.example(batch)))

    def networks(self) -> dict[str, nn.Module]:
        """Return the generator and, if there are any, all discriminators as one network with one optimiser."""
        return super().networks() | ({"discriminator": self.discriminators} if self.discriminators else {})

    def loss_weight(self, name: str) -> float:
        """Return the weight of a loss, or of a discriminator's losses."""
        return super().loss_weight(name.removeprefix("discriminator/").removesuffix("_penalty"))

    def discriminator_for(self, batch: dict[str, Any], name: str) -> Callable[[Tensor], DiscriminatorOutput]:
        """Return a discriminator as a function of examples alone, in the precision of discriminators."""

        def run(example: Tensor) -> DiscriminatorOutput:
            if not self.bf16_discriminators:
                return self.discriminate(name, example, batch)
            with torch.autocast(example.device.type, torch.bfloat16):
                return self.discriminate(name, example, batch)

        return run

    def weights_normalised_once(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Let all passes of a discriminator in an update share its normalised weights."""
        # Compiled discriminators contain the normalisation.
        compiled = self.compile_networks
        return contextlib.nullcontext() if compiled else normalised_once(self.discriminators[name])


@dataclass
class StepState:
    """State shared by the discriminator and generator updates on one micro-batch.

    Args:
        batch: The micro-batch.
        real: Its examples.
        fake: The generated examples, with the generator's graph; None until they are generated.
        other_losses: The generator's losses that do not compare examples.
        real_outputs: Outputs for the real examples from before the discriminators' update, by discriminator.
    """

    batch: dict[str, Any]
    real: Tensor
    fake: Tensor | None = None
    other_losses: Losses = field(default_factory=dict)
    real_outputs: dict[str, DiscriminatorOutput] = field(default_factory=dict)


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Exclude a network's parameters from the graph: their gradients are neither computed nor stored."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
