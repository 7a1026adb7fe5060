"""What every system shares, whatever its paradigm: front end, the update of a network, averaged weights, synthesis."""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from framework.audio.files import save_audio
from framework.audio.mel import MelSpectrogram, preset
from framework.discriminators.spectral_norm import SpectralNorm
from framework.errors import InvalidTypeError, InvalidValueError
from framework.evaluation.metrics.metric import Trait
from framework.generators.channels_last import Vocoder
from framework.hyperparameters import Hyperparameters, added, runtime, trainer
from framework.lightning import LightningDataModule, LightningModule

LONG = 30.0
"""Seconds from which on a network that can generates a recording piece by piece."""

Terms = dict[str, Tensor]
"""Loss terms by name, unweighted scalars in float32."""


class System(Hyperparameters, LightningModule):
    """A generator of audio with its training recipe; an experiment is a subclass of one.

    A paradigm says by `terms` (or, where networks take turns, by `training_step`) what is minimised. Each named term
    is weighted by the hyperparameter `<name>_weight`, if there is one, and logged, unweighted, under its name. Networks
    and losses are chosen by overriding a `build_*` method.

    What is trained on and generated is an `example`: audio, unless a system says otherwise and how to `render` one.

    Random numbers are a function of the seed, the step and the rank (of the seed and the batch in a validation), never
    of what came before: plain `torch.rand` in a step resumes exactly.

    Args:
        data: Data module that the experiment trains and is judged on.
        mel: Name of the pinned mel front end (see `framework/audio/mel.py`): what conditions a system that is
            conditioned on mels, and what all of them are drawn and measured by.
        ema_decay: Decay of the exponential moving average of the generator's weights that is judged and listened to
            instead of the last ones; 0 keeps none.
        learning_rate: Learning rate of the AdamW optimisers, one for each network.
        betas: Decay rates of AdamW's moments.
        weight_decay: AdamW's weight decay; 0 makes it Adam.
        learning_rate_decay: Factor on the learning rate after each epoch, or after `decay_steps`.
        decay_steps: Steps between two decays of the learning rate; 0 for an epoch.
        warmup_steps: Steps over which the learning rate rises linearly at first.
        schedule: Whether the learning rate decays exponentially, or as half a cosine to 0 at `max_steps`.
        gradient_clip: Largest norm of each network's gradient; 0 leaves it.
        accumulate: Parts in which a device goes through its share of a batch, to save memory; the gradients are those
            of the whole, except where the examples of a batch depend on each other: batch normalisation sees a part.
        compile_networks: Whether torch.compile translates the networks; checkpoints are the same.
        skipped_limit: How many steps in a row may be left out because a gradient is not finite.
        stall_minutes: How long a step, or a held-out clip, may take before the run is ended; 0 for ever.
        max_steps: Training steps; one step is one generator update.
        val_check_interval: Steps between two validations, each with audio.
        precision: Arithmetic of the networks; losses are computed in float32 always.
        seed: Seed of the weights, the data order and the crops.
    """

    judging: ClassVar[tuple[str, ...]] = ("copies", "monitor", "traits")
    copies: ClassVar[bool] = True
    """Whether `synthesize` gives the very clip of the batch again, so that a distance to it means something."""
    monitor: ClassVar[str] = "validation/log_mel_error"
    """What the best checkpoint is chosen by; lower is better."""
    traits: ClassVar[tuple[Trait, ...]] = ()
    """What `describe` says of an example; these are then the metrics of an evaluation, in place of audio's."""

    data: type[LightningDataModule]
    mel: str = "hifigan_22k"
    ema_decay: float = 0.0
    learning_rate: float = 2e-4
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    learning_rate_decay: float = 1.0
    decay_steps: int = added(0)
    warmup_steps: int = added(0)
    schedule: Literal["exponential", "cosine"] = added("exponential")
    gradient_clip: float = 0.0
    accumulate: int = runtime(1)
    compile_networks: bool = runtime(False)
    skipped_limit: int = runtime(20)
    stall_minutes: float = runtime(30.0)
    max_steps: int = trainer(1_000_000)
    val_check_interval: int = trainer(1_000)
    precision: str = trainer("32-true")
    seed: int = trainer(1234)

    def build(self) -> None:
        """Make the front end, the networks and the losses."""
        # Networks that take turns need it, and one way of updating is enough for all.
        self.automatic_optimization = False
        self.not_finite: Terms = {}
        self.preset = preset(self.mel)
        self.front_end = MelSpectrogram(self.preset)
        self.generator = self.build_generator()
        hop = getattr(self.generator, "hop_length", self.preset.hop_length)
        if hop != self.preset.hop_length:
            raise InvalidValueError(
                f"the generator makes {hop} samples of a frame, the mel {self.mel} has {self.preset.hop_length}"
            )
        self.losses = nn.ModuleDict(self.build_losses())
        for name in self.losses:
            if f"{name}_weight" not in self.hyperparameters:
                raise InvalidTypeError(
                    f"the loss {name!r} has no weight: annotate {name}_weight: float in {type(self).__name__}"
                )
        if self.ema_decay:
            average = get_ema_multi_avg_fn(self.ema_decay)
            self.averaged_generator = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)

    def build_generator(self) -> nn.Module:
        """Return the network that is trained: conditioning -> audio `(batch, 1, time)`."""
        raise NotImplementedError(f"{type(self).__name__} has no build_generator()")

    def build_losses(self) -> dict[str, nn.Module]:
        """Return the reconstruction losses `(fake, real) -> scalar` by name, unweighted."""
        return {}

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that have an optimiser each, the generator first: its updates are the steps."""
        return {"generator": self.generator}

    def relies_on(self) -> tuple[type, ...]:
        """Return the systems, trained before, that this one works with: their code has a part in its results."""
        return ()

    @property
    def has_weights(self) -> bool:
        """Whether there is anything to train."""
        return any(True for _ in self.generator.parameters())

    @property
    def judged(self) -> nn.Module:
        """The generator that is judged and listened to."""
        return self.averaged_generator if self.ema_decay else self.generator

    @property
    def network(self) -> Any:
        """The generator that is judged, unwrapped: for what else it has than its output."""
        return self.averaged_generator.module if self.ema_decay else self.generator

    def setup(self, stage: str) -> None:
        """Refuse data whose sample rate is not the front end's, and arithmetic that the losses do not survive."""
        rate = getattr(self.trainer.datamodule, "sample_rate", self.preset.sample_rate)  # type: ignore[attr-defined]
        if rate != self.preset.sample_rate:
            raise InvalidValueError(
                f"the data has {rate} Hz, the mel front end {self.preset.name} {self.preset.sample_rate} Hz: "
                "set --data.sample_rate or --model.mel so that they agree"
            )
        if self.trainer.precision == "16-mixed":
            raise InvalidValueError(
                "16-mixed scales one loss, and here networks take turns whose steps it would skip one without the "
                "other: use --trainer.precision bf16-mixed, or 32-true"
            )
        if self.trainer.precision not in ("32-true", "bf16-mixed"):
            raise InvalidValueError(
                f"{self.trainer.precision} has the weights in another arithmetic than mels and losses, which are in "
                "float32: use --trainer.precision bf16-mixed, or 32-true"
            )
        if self.compile_networks and stage == "fit":
            for network in self.networks().values():
                network.compile()

    # Training

    def example(self, batch: dict[str, Any]) -> Tensor:
        """Return what is trained on: the audio `(batch, 1, time)`, or what a system makes of a batch."""
        return batch["audio"]

    def condition(self, batch: dict[str, Any]) -> Any:
        """Return what the generator is given: the log-mel `(batch, mels, frames)` of the audio `(batch, 1, time)`."""
        return self.front_end(batch["audio"])

    def terms(self, batch: dict[str, Any]) -> Terms:
        """Return the loss terms of a batch, unweighted."""
        raise NotImplementedError(f"{type(self).__name__} has no terms()")

    def training_step(self, batch: dict[str, Any], batch_index: int) -> None:
        """Update the generator on the loss terms of a batch."""
        self.update("generator", [lambda part=part: self.terms(part) for part in self.parts(batch)])

    def parts(self, batch: dict[str, Any], name: str = "accumulate") -> list[dict[str, Any]]:
        """Cut a batch into as many equal parts as the hyperparameter of this name says.

        Raises:
            ValueError: the device's share of the batch cannot be divided so.
        """
        count = getattr(self, name)
        if count == 1:
            return [batch]
        share = len(batch["key"])
        if count < 1 or share % count:
            raise InvalidValueError(f"{name} = {count} does not divide a device's share of the batch, {share}")
        size = share // count
        return [
            {n: v[i : i + size] if isinstance(v, (list, Tensor)) and len(v) == share else v for n, v in batch.items()}
            for i in range(0, share, size)
        ]

    def weight(self, name: str) -> float:
        """Return the weight of a named loss term."""
        return getattr(self, f"{name}_weight", 1.0)

    def update(self, name: str, parts: Sequence[Callable[[], Terms]]) -> None:
        """Take a network's optimiser step on the weighted sum of loss terms, meaned over the parts of a batch.

        The gradient is averaged over devices once, behind the last part. Where its norm is not finite on any of them,
        no device takes the step.
        """
        network, optimizer = self.networks()[name], self.optimizer_of(name)
        optimizer.zero_grad()
        logged: Terms = {}
        modules = [m for n in self.networks().values() for m in n.modules()] if len(parts) > 1 else []
        buffers = [b for m in modules if isinstance(m, SpectralNorm) for b in m.buffers()]
        begun = [buffer.clone() for buffer in buffers]
        for make_terms in parts:
            # Spectral norms iterate at every pass: each part begins where the whole batch would.
            for buffer, value in zip(buffers, begun, strict=True):
                buffer.copy_(value)
            terms = make_terms()
            terms[name] = torch.stack([self.weight(n) * term for n, term in terms.items()]).sum()
            self.manual_backward(terms[name] / len(parts))
            for term, value in terms.items():
                logged[term] = logged.get(term, 0.0) + value.detach() / len(parts)
        getattr(self.trainer.strategy, "average_gradients", lambda network: None)(network)
        self.descend(name, network, optimizer)
        self.log_dict({f"train/{term}": value for term, value in logged.items()}, prog_bar=True)

    def descend(self, name: str, network: nn.Module, optimizer: Any) -> None:
        """Take an optimiser step with the network's gradient, its norm clipped and logged."""
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.gradient_clip:
            nn.utils.clip_grads_with_norm_(network.parameters(), self.gradient_clip, norm)
        rate = self.learning_rate_at(self.global_step, self.current_epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate
        # The fused optimisers look at this on the device themselves: no waiting for it here.
        optimizer.optimizer.found_inf = self.not_finite[name] = (~torch.isfinite(norm)).float()
        optimizer.step()
        if name == "generator" and self.ema_decay:
            self.averaged_generator.update_parameters(network)
        self.log_dict({f"gradient_norm/{name}": norm, f"learning_rate/{name}": rate})

    def optimizer_of(self, name: str) -> Any:
        """Return a network's optimiser; only the generator's step counts as one of the training."""
        optimizers = self.optimizers()
        if not isinstance(optimizers, list):
            return optimizers
        optimizer: Any = optimizers[list(self.networks()).index(name)]
        if name != "generator":
            # Lightning counts every optimiser's step as a training step.
            optimizer._on_before_step = optimizer._on_after_step = lambda: None
        return optimizer

    def configure_optimizers(self) -> Any:
        """Return AdamW for each network; `learning_rate_at` gives their learning rate."""
        return [
            torch.optim.AdamW(
                network.parameters(), self.learning_rate, self.betas, weight_decay=self.weight_decay, fused=True
            )
            for network in self.networks().values()
        ]

    def learning_rate_at(self, step: int, epoch: int) -> float:
        """Return the learning rate: a function of the position alone, so that nothing has to be resumed."""
        if self.schedule == "cosine":
            last = max(self.trainer.max_steps, 1)
            factor = 0.5 * (1 + math.cos(math.pi * min(step / last, 1.0)))
        else:
            factor = self.learning_rate_decay ** (step // self.decay_steps if self.decay_steps else epoch)
        return self.learning_rate * factor * min(1.0, (step + 1) / max(self.warmup_steps, 1))

    def on_train_batch_start(self, batch: dict[str, Any], batch_index: int) -> None:
        """Make the step's random numbers a function of where it is."""
        seed_all("train", self.global_step, self.global_rank)

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_index: int) -> None:
        """Tell the data module which batch has been trained on: its position counts those, not the fetched ones."""
        self.trainer.datamodule.advance(batch)  # type: ignore[attr-defined]

    # Synthesis and validation

    def generate(self, batch: dict[str, Any]) -> Tensor:
        """Return an example of the network's own, from what `condition` finds in a batch."""
        batch, network = self.whole_frames(batch), self.network
        if not isinstance(network, Vocoder):
            return self.judged(self.condition(batch))
        if type(self).condition is System.condition and batch["audio"].shape[-1] > LONG * self.preset.sample_rate:
            return torch.cat(list(network.stream(self.front_end.pieces(batch["audio"]))), dim=-1)
        mel = self.condition(batch)
        return (network.prepared() if mel.device.type == "cpu" else self.judged)(mel)

    def render(self, example: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return the audio `(batch, 1, time)` of an example."""
        return example

    @torch.no_grad()
    def synthesize(self, batch: dict[str, Any]) -> Tensor:
        """Generate audio `(batch, 1, time)`, as long as the batch's if that has audio."""
        return self.cut(self.render(self.generate(batch), batch), batch)

    @torch.no_grad()
    def truth(self, batch: dict[str, Any]) -> Tensor:
        """Return a batch's own audio `(batch, 1, time)`, rendered where it has none."""
        return batch["audio"] if "audio" in batch else self.render(self.example(batch), batch)

    def write(self, batch: dict[str, Any], path: Path) -> None:
        """Write what is generated for a batch of one as a recording; a system adds files of its own beside it."""
        save_audio(path, self.synthesize(batch)[0], self.preset.sample_rate)

    def whole_frames(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a batch whose audio, if it has some, is padded to whole frames of the mel."""
        if "audio" not in batch:
            return batch
        missing = -batch["audio"].shape[-1] % self.preset.hop_length
        return batch | {"audio": nn.functional.pad(batch["audio"], (0, missing))}

    def cut(self, audio: Tensor, batch: dict[str, Any]) -> Tensor:
        """Return audio no longer than the batch's, in float32."""
        return (audio[..., : batch["audio"].shape[-1]] if "audio" in batch else audio).float()

    def pictures(self, generated: Tensor, real: Tensor) -> dict[str, Image.Image]:
        """Return pictures by title of a generated example beside a real one, other than log-mels of audio."""
        return {}

    def analyse(self, audio: Tensor) -> dict[str, Any]:
        """Return a recording `(1, 1, time)` as a batch with all that `condition` needs."""
        return {"audio": audio}

    def measure(self, batch: dict[str, Any]) -> Terms:
        """Return numbers of a held-out clip beside its distances, such as a likelihood; lower is better."""
        return {}

    def describe(self, example: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """Return what an example of one clip is like, by the names of `traits`; nan where it cannot be said."""
        return {}

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> dict[str, Any]:
        """Generate a held-out clip; callbacks measure it, draw it and make it heard."""
        generated = self.generate(batch)
        return {
            "key": batch["key"][0],
            "real": self.truth(batch)[0],
            "fake": self.cut(self.render(generated, batch), batch)[0],
            "pictures": self.pictures(generated, self.example(batch)),
            "sample_rate": self.preset.sample_rate,
            "preset": self.preset,
            "copies": self.copies,
            "measures": self.measure(batch),
        }

    def on_validation_batch_start(self, batch: dict[str, Any], batch_index: int, dataloader_index: int = 0) -> None:
        """Give a clip the same random numbers in every validation."""
        seed_all("validation", batch_index)

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the mel convention with the weights that only make sense with it."""
        checkpoint["front_end"] = asdict(self.preset)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that were trained on another mel convention; let own values beat the stored optimisers'.

        Raises:
            ValueError: naming each field that differs, with both values.
        """
        stored, own = checkpoint.get("front_end", {}), asdict(self.preset)
        differences = [f"{n} {stored[n]} (here {own[n]})" for n in own if n in stored and stored[n] != own[n]]
        if differences:
            raise InvalidValueError(f"the checkpoint was trained on another mel front end: {', '.join(differences)}")
        for optimizer in checkpoint.get("optimizer_states", ()):
            for group in optimizer["param_groups"]:
                group |= {"betas": self.betas, "weight_decay": self.weight_decay}


def seed_all(*position: Any) -> None:
    """Seed torch's generators on all devices from the run's seed and a position."""
    text = " ".join(map(str, (os.environ.get("PL_GLOBAL_SEED", 0), *position)))
    torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1)
