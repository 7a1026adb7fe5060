"""Adversarial training of a generator against any set of discriminators, with any reconstruction losses beside it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from framework.discriminators.base import Discriminator
from framework.losses.adversarial import AdversarialLoss, LeastSquares
from framework.losses.feature_matching import FeatureMatching
from framework.paradigms.system import System


class Adversarial(System):
    """A generator and its discriminators, updated in turn (Goodfellow et al., 2014).

    One step is the papers' order: make the fake, update the discriminators, update the generator. Networks and losses
    are chosen by overriding a `build_*` method. Each named loss term is weighted by the hyperparameter `<name>_weight`
    and logged, unweighted, under its name.

    Args:
        learning_rate: Learning rate of both AdamW optimisers.
        betas: Decay rates of AdamW's moments.
        weight_decay: AdamW's weight decay; 0 makes it Adam.
        learning_rate_decay: Factor on both learning rates after each epoch.
        adversarial_weight: Weight of the generator's adversarial loss.
        feature_matching_weight: Weight of the feature matching loss.
        adversarial_start: Steps on the reconstruction losses alone before the discriminators join.
        match_before_update: Match the features that the discriminators gave the real audio before their own update
            (MelGAN's official code), which saves a pass over it.
        gradient_clip: Largest norm of each network's gradient; 0 leaves it.
    """

    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.8, 0.99)
    weight_decay: float = 0.01
    learning_rate_decay: float = 0.999
    adversarial_weight: float = 1.0
    feature_matching_weight: float = 2.0
    adversarial_start: int = 0
    match_before_update: bool = False
    gradient_clip: float = 0.0

    def build(self) -> None:
        """Make the networks and the losses."""
        super().build()
        self.automatic_optimization = False
        self.discriminators: Any = nn.ModuleDict(self.build_discriminators())
        self.adversarial_loss = self.build_adversarial_loss()
        self.feature_matching = self.build_feature_matching()
        self.losses = nn.ModuleDict(self.build_losses())
        for name in self.losses:
            if f"{name}_weight" not in self.hyperparameters:
                raise TypeError(
                    f"the loss {name!r} has no weight: annotate {name}_weight: float in {type(self).__name__}"
                )

    def build_discriminators(self) -> dict[str, Discriminator]:
        """Return the discriminators by name; none leaves the reconstruction losses alone."""
        return {}

    def build_adversarial_loss(self) -> AdversarialLoss:
        """Return the pair of losses that discriminators and generator play against each other."""
        return LeastSquares()

    def build_feature_matching(self) -> FeatureMatching:
        """Return the loss between the discriminators' feature maps of real and fake audio."""
        return FeatureMatching()

    def build_losses(self) -> dict[str, nn.Module]:
        """Return the reconstruction losses `(fake, real) -> scalar` by name, unweighted."""
        return {}

    def training_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Make the fake, update the discriminators, update the generator."""
        real = batch["audio"]
        fake = self.generator(self.condition(real))
        matched = None
        if self.adversarial_weight and self.discriminators and self.global_step >= self.adversarial_start:
            matched = self.update_discriminators(real, fake.detach().float())
            with frozen(self.discriminators):
                terms = self.adversarial_terms(real, fake.float(), matched)
                self.update_generator(terms | self.reconstruction_terms(real, fake.float()))
        else:
            self.update_generator(self.reconstruction_terms(real, fake.float()))

    def update_discriminators(self, real: Tensor, fake: Tensor) -> dict[str, Any]:
        """Take the discriminators' step and return what they made of the real audio `(batch, 1, time)` before it."""
        optimizer = self.optimizers()[1]  # type: ignore[index]
        # Lightning counts every optimiser's step as a training step; only the generator's is one.
        optimizer._on_before_step = optimizer._on_after_step = lambda: None
        terms, before = {}, {}
        for name, discriminator in self.discriminators.items():
            before[name] = real_logits, _ = discriminator(real)
            fake_logits, _ = discriminator(fake)
            terms[f"discriminator/{name}"] = self.adversarial_loss.discriminator(real_logits, fake_logits)
            penalty = self.adversarial_loss.penalty(discriminator, real, fake)
            if penalty is not None:
                terms[f"discriminator/{name}_penalty"] = penalty
        self.descend(optimizer, self.discriminators, torch.stack(list(terms.values())).sum(), "discriminator")
        self.log_terms(terms)
        return before

    def adversarial_terms(self, real: Tensor, fake: Tensor, before: dict[str, Any]) -> dict[str, Tensor]:
        """Return the generator's losses by the discriminators, which are frozen and keep no graph of the real audio."""
        adversarial, matching = fake.new_zeros(()), fake.new_zeros(())
        for name, discriminator in self.discriminators.items():
            if self.feature_matching_weight:
                real_output = before[name]
                if not self.match_before_update:
                    with torch.no_grad():
                        real_output = discriminator(real)
            fake_output = discriminator(fake)
            adversarial = adversarial + self.adversarial_loss.generator(fake_output[0])
            if self.feature_matching_weight:
                matching = matching + self.feature_matching(real_output, fake_output)
        return {"adversarial": adversarial, "feature_matching": matching}

    def reconstruction_terms(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Return the reconstruction losses whose weight is not zero, unweighted."""
        return {name: loss(fake, real) for name, loss in self.losses.items() if self.weight(name)}

    def weight(self, name: str) -> float:
        """Return the weight of a named loss term."""
        return getattr(self, f"{name}_weight")

    def update_generator(self, terms: dict[str, Tensor]) -> None:
        """Take the generator's step on the weighted sum of its loss terms."""
        optimizers = self.optimizers()
        optimizer = optimizers[0] if isinstance(optimizers, list) else optimizers
        total = torch.stack([self.weight(name) * term for name, term in terms.items()]).sum()
        self.descend(optimizer, self.generator, total, "generator")
        if self.ema_decay:
            self.averaged_generator.update_parameters(self.generator)
        self.log_terms(terms | {"generator": total})

    def descend(self, optimizer: Any, network: nn.Module, loss: Tensor, name: str) -> None:
        """Take one optimiser step on a loss, with the gradient's norm clipped and logged."""
        optimizer.zero_grad()
        self.manual_backward(loss)
        logged = self.global_step % self.trainer.log_every_n_steps == 0  # type: ignore[attr-defined]
        if self.gradient_clip or logged:
            limit = self.gradient_clip or float("inf")
            norm = nn.utils.clip_grad_norm_(network.parameters(), limit)
            self.log(f"gradient_norm/{name}", norm)
            self.log(f"learning_rate/{name}", optimizer.param_groups[0]["lr"])
        optimizer.step()

    def log_terms(self, terms: dict[str, Tensor]) -> None:
        """Log loss terms under `train/`."""
        self.log_dict({f"train/{name}": term.detach() for name, term in terms.items()}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        """Return AdamW for the generator and for the discriminators, each with an exponential schedule by epoch."""
        networks = [self.generator, self.discriminators] if self.discriminators else [self.generator]
        optimizers = [
            torch.optim.AdamW(
                n.parameters(), self.learning_rate, self.betas, weight_decay=self.weight_decay, fused=True
            )
            for n in networks
        ]
        return optimizers, [torch.optim.lr_scheduler.ExponentialLR(o, self.learning_rate_decay) for o in optimizers]

    def on_train_epoch_end(self) -> None:
        """Step both schedules, as the papers do by epoch, also while the discriminators wait for their start."""
        schedulers: Any = self.lr_schedulers()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            scheduler.step()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let this run's hyperparameters win over those that the checkpoint's optimisers and schedules stored."""
        super().on_load_checkpoint(checkpoint)
        for optimizer, schedule in zip(checkpoint["optimizer_states"], checkpoint["lr_schedulers"], strict=True):
            for group in optimizer["param_groups"]:
                group["lr"] *= self.learning_rate / group["initial_lr"]
                group |= {"initial_lr": self.learning_rate, "betas": self.betas, "weight_decay": self.weight_decay}
            schedule["base_lrs"] = [self.learning_rate] * len(schedule["base_lrs"])
            schedule["_last_lr"] = [group["lr"] for group in optimizer["param_groups"]]
            schedule["gamma"] = self.learning_rate_decay


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Keep a network's parameters out of the graph: their gradients are neither computed nor kept."""
    network.requires_grad_(False)
    try:
        yield
    finally:
        network.requires_grad_(True)
