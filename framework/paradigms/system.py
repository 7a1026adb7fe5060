"""Base class of all systems: what they define, and how they are trained, validated and stored."""

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from PIL import Image
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from framework.aliases import members_of
from framework.annotations import Decay, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Range, Seed
from framework.audio.distances import log_mel_error, stft_distance
from framework.data_module import DataModule, FromData, check_follows, data_module_of
from framework.discriminators.spectral_norm import SpectralNorm
from framework.errors import InvalidTypeError, InvalidValueError
from framework.hyperparameters import added, runtime, trainer
from framework.lightning import LightningDataModule, LightningModule
from framework.paradigms.batches import complete, count, split
from framework.paradigms.hooks import adopt_configure_optimizers, check_hooks
from framework.paradigms.optimizers import NetworkOptimizers
from framework.runs.loop_state import before_next_batch, begins_with_validation
from framework.synthesizer import Synthesizer
from framework.trainer_arguments import check_trainer
from framework.traits import Trait

Losses = dict[str, Tensor]
"""Losses by name, unweighted scalars in float32."""
Terms = Losses
"""Former name of `Losses`."""


class System(Synthesizer, LightningModule):
    """A `Synthesizer` with its training recipe: a LightningModule; an experiment is a subclass.

    A subclass builds its networks and losses in `build_*` methods and defines what is minimised in `training_losses`,
    or in `training_step` if several networks are updated alternately. Each loss is logged unweighted under its name and
    multiplied by the hyperparameter `<name>_weight`, if there is one.

    The random state is set from the seed, the step and the rank before every training step (from the seed and the batch
    in a validation), so that resuming is exact, also for plain `torch.rand` in a step.

    Args:
        data: Data module that the experiment is trained and evaluated on.
        ema_decay: Decay of the exponential moving average (EMA) of the generator's weights, which is used in validation
            and synthesis; 0 uses the weights themselves.
        learning_rate: Learning rate of the AdamW optimisers, one for each network.
        betas: Decay rates of AdamW's moments.
        weight_decay: Weight decay of AdamW; 0 is Adam.
        learning_rate_decay: Factor on the learning rate after each epoch, or after `decay_steps`.
        decay_steps: Steps between two decays of the learning rate; 0 for an epoch.
        warmup_steps: First steps, over which the learning rate rises linearly.
        schedule: `exponential` decay of the learning rate, or a half `cosine` to 0 at `max_steps`.
        gradient_clip: Maximum norm of each network's gradient; 0 does not clip.
        accumulate_grad_batches: Micro-batches that a device divides its share of a batch into, to save memory. The
            gradients are those of the whole batch, except that batch normalisation sees one micro-batch at a time.
        compile_networks: Compile the networks with torch.compile; checkpoints are the same.
        skipped_limit: Number of consecutive steps that may be skipped because a gradient is not finite.
        stall_minutes: Time that a step or a held-out clip may take before the run is ended; 0 for no limit.
        max_steps: Training steps; one step is one generator update.
        val_check_interval: Steps between two validations, each with audio.
        precision: Precision of the networks; losses are always computed in float32.
        seed: Seed of the weights, the data order and the crops.
    """

    not_in_identity: ClassVar[tuple[str, ...]] = ("reconstructs_input", "monitor", "traits")
    monitor: ClassVar[str] = "validation/log_mel_error"
    """Metric that the best checkpoint is chosen by; lower is better."""
    traits: ClassVar[tuple[Trait, ...]] = ()
    """Properties of an example that `describe` returns; an evaluation reports them instead of metrics of audio."""

    data: type[LightningDataModule]
    ema_decay: Decay = 0.0
    learning_rate: PositiveFloat = 2e-4
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 0.0
    learning_rate_decay: PositiveFloat = 1.0
    decay_steps: NonNegativeInt = added(0)
    warmup_steps: NonNegativeInt = added(0)
    schedule: Literal["exponential", "cosine"] = added("exponential")
    gradient_clip: NonNegativeFloat = 0.0
    accumulate_grad_batches: PositiveInt = runtime(1)
    compile_networks: bool = runtime(False)
    skipped_limit: PositiveInt = runtime(20)
    stall_minutes: NonNegativeFloat = runtime(30.0)
    max_steps: Annotated[int, Range(-1)] = trainer(1_000_000)
    val_check_interval: PositiveInt = trainer(1_000)
    precision: str = trainer("32-true")
    seed: Seed = trainer(1234)

    # What a subclass defines or extends, in the order in which it is called

    def build(self) -> None:
        """Build the front end, the networks and the losses; a subclass may add parts."""
        super().build()
        self.losses = nn.ModuleDict()
        if not self.is_for_synthesis:
            self.build_training()

    def build_training(self) -> None:
        """Build what only training needs: losses, optimisers and averaged weights.

        Raises:
            TypeError: a loss has no weight.
        """
        # Several optimisers require manual optimisation; all systems use it, so that there is one update function.
        self.automatic_optimization = False
        self.network_optimizers = NetworkOptimizers(self)
        self.not_finite: Losses = {}
        self.step_output: Losses = {}
        self.losses.update(self.build_losses())
        for name in self.losses:
            if f"{name}_weight" not in self.hyperparameters:
                raise InvalidTypeError(
                    f"the loss {name!r} has no weight: annotate {name}_weight: float in {type(self).__name__}"
                )
        if self.ema_decay:
            average = get_ema_multi_avg_fn(self.ema_decay)
            self.averaged_generator = AveragedModel(self.generator, multi_avg_fn=average, use_buffers=True)

    def build_losses(self) -> dict[str, nn.Module]:
        """Return the reconstruction losses `(fake, real) -> scalar` by name, unweighted."""
        return {}

    @classmethod
    def values_from_data(cls, data: DataModule, values: Mapping[str, Any]) -> dict[str, FromData]:
        """Return the hyperparameters that follow from the data, by name; none by default.

        A hyperparameter that was not set has this value; one that was set to a value that does not suit is refused.

        Args:
            data: The data module.
            values: The system's hyperparameters, as they were set.
        """
        return {}

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks, each with its own optimiser; the generator's updates are counted as training steps."""
        return {"generator": self.generator}

    def training_losses(self, batch: dict[str, Any]) -> Losses:
        """Return the losses of a batch, unweighted."""
        raise NotImplementedError(f"{type(self).__name__} has no training_losses()")

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Losses:
        """Update the generator on the losses of a batch; return the weighted sum as `loss`."""
        self.update("generator", [lambda part=part: self.training_losses(part) for part in self.micro_batches(batch)])
        return dict(self.step_output)

    def loss_weight(self, name: str) -> float:
        """Return the weight of a loss."""
        return getattr(self, f"{name}_weight", 1.0)

    def build_optimizer(self, name: str, network: nn.Module) -> torch.optim.Optimizer:
        """Return the optimiser of a network, by default AdamW.

        Any PyTorch optimiser can be returned, with one or several parameter groups. Its learning rate is set to
        `learning_rate_at` before every step; groups whose rate differs from `self.learning_rate` keep their ratio to
        it. Steps whose gradient is not finite are skipped; with fused optimisers (`fused=True`) this needs no
        synchronisation of host and device.

        Args:
            name: Name of the network in `networks()`, such as `generator` or `discriminator`.
            network: The network whose parameters are optimised.
        """
        return torch.optim.AdamW(
            network.parameters(), self.learning_rate, self.betas, weight_decay=self.weight_decay, fused=True
        )

    def learning_rate_at(self, step: int, epoch: int) -> float:
        """Return the learning rate of a step. It depends on the position only, so that there is no state to resume."""
        if self.schedule == "cosine":
            last = max(self.trainer.max_steps, 1)
            factor = 0.5 * (1 + math.cos(math.pi * min(step / last, 1.0)))
        else:
            factor = self.learning_rate_decay ** (step // self.decay_steps if self.decay_steps else epoch)
        return self.learning_rate * factor * min(1.0, (step + 1) / max(self.warmup_steps, 1))

    def pictures(self, generated: Tensor, real: Tensor) -> dict[str, Image.Image]:
        """Return pictures of a generated and a real example by title, in addition to log-mels of audio."""
        return {}

    def measure(self, batch: dict[str, Any]) -> Losses:
        """Return further metrics of a held-out clip, such as a likelihood; lower is better."""
        return {}

    def describe(self, example: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """Return the values of `traits` of one clip's example by name; nan if undefined."""
        return {}

    def relies_on(self) -> tuple[type, ...]:
        """Return the classes of pretrained systems that this one depends on; their code counts as part of its own."""
        return ()

    # Training: the update, for `training_step`

    def micro_batches(self, batch: dict[str, Any], name: str = "accumulate_grad_batches") -> list[dict[str, Any]]:
        """Divide a batch into equal micro-batches; their number is the hyperparameter `name`.

        Raises:
            ValueError: the device's share of the batch is not a multiple of that number.
        """
        parts, share = getattr(self, name), count(batch)
        if parts < 1 or share % parts:
            raise InvalidValueError(f"{name} = {parts} does not divide a device's share of the batch, {share}")
        return split(batch, share // parts)

    def update(self, name: str, parts: Sequence[Callable[[], Losses]]) -> None:
        """Backpropagate the weighted sum of a network's losses over all micro-batches and step its optimiser.

        The gradient is averaged across devices once, after the last micro-batch. The step is skipped on every device if
        the gradient norm is not finite on any.

        Args:
            name: Name of the network.
            parts: Functions that each return the losses of one micro-batch.
        """
        network = self.networks()[name]
        self.network_optimizers.zero_grad(name)
        logged: Losses = {}
        modules = [m for n in self.networks().values() for m in n.modules()] if len(parts) > 1 else []
        buffers = [b for m in modules if isinstance(m, SpectralNorm) for b in m.buffers()]
        begun = [buffer.clone() for buffer in buffers]
        for losses_of in parts:
            # Spectral norms iterate at every pass: each micro-batch starts where the whole batch would.
            for buffer, value in zip(buffers, begun, strict=True):
                buffer.copy_(value)
            terms = losses_of()
            terms[name] = torch.stack([self.loss_weight(n) * term for n, term in terms.items()]).sum()
            self.manual_backward(terms[name] / len(parts))
            for term, value in terms.items():
                logged[term] = logged.get(term, 0.0) + value.detach() / len(parts)
        getattr(self.trainer.strategy, "average_gradients", lambda network: None)(network)
        self.step_optimizer(name, network)
        self.log_dict({f"train/{term}": value for term, value in logged.items()}, prog_bar=True)
        if name == "generator":
            self.step_output = {"loss": logged[name]}

    def step_optimizer(self, name: str, network: nn.Module) -> None:
        """Clip the gradient of a network to `gradient_clip`, step its optimiser, and log norm and learning rate.

        The step is skipped on every device if the norm of the gradient is not finite.
        """
        # Only the generator's steps are steps of the training.
        norm, self.not_finite[name], rate = self.network_optimizers.step(name, counted=name == "generator")
        if name == "generator" and self.ema_decay:
            self.averaged_generator.update_parameters(network)
        self.log_dict({f"gradient_norm/{name}": norm, f"learning_rate/{name}": rate})

    def configure_optimizers(self) -> Any:
        """Return the optimiser of each network.

        Override `build_optimizer` and `learning_rate_at` instead. If a system overrides this method, with any return
        value that Lightning documents, its optimisers and learning-rate schedulers are used as they are and
        `learning_rate_at` is not called.
        """
        return self.network_optimizers.build()

    # Validation, test and prediction

    def validation_step(self, batch: dict[str, Any], batch_index: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Generate held-out clips and log the means of their metrics as `validation/<name>`.

        The metrics are those that `measure` returns and, if the output reconstructs the input, `log_mel_error` and
        `stft_distance`.

        Returns:
            The first clip of the batch, for callbacks that log audio and pictures.
        """
        return self.log_clips("validation", batch)

    def test_step(self, batch: dict[str, Any], batch_index: int, dataloader_idx: int = 0) -> dict[str, Any]:
        """Do the same as `validation_step` for test clips; names begin with `test/`."""
        return self.log_clips("test", batch)

    def predict_step(self, batch: dict[str, Any], batch_index: int, dataloader_idx: int = 0) -> Tensor:
        """Return the generated audio `(batch, 1, time)` of a batch."""
        return self.synthesize(batch)

    def log_clips(self, stage: str, batch: dict[str, Any]) -> dict[str, Any]:
        """Generate the clips of a batch one by one, log their metrics and return the first clip."""
        clips = [self.clip(part) for part in split(batch, 1)]
        for clip in clips:
            values = {name: float(value) for name, value in clip["measures"].items()}
            if clip["reconstructs_input"]:
                fake, real = clip["fake"][None], clip["real"][None]
                values["log_mel_error"] = log_mel_error(fake, real, self.preset)
                values["stft_distance"] = stft_distance(fake, real)
            logged = {f"{stage}/{name}": value for name, value in values.items()}
            self.log_dict(logged, on_epoch=True, batch_size=1, sync_dist=True)
        return clips[0]

    def clip(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Generate one clip; return it with the reference, its metrics and its pictures."""
        generated = self.generate(batch)
        return {
            "key": batch["key"][0],
            "real": self.reference(batch)[0],
            "fake": self.cut(self.render(generated, batch), batch)[0],
            "pictures": self.pictures(generated, self.example(batch)),
            "sample_rate": self.preset.sample_rate,
            "preset": self.preset,
            "reconstructs_input": self.reconstructs_input,
            "measures": self.measure(batch),
        }

    def on_validation_batch_start(self, batch: dict[str, Any], batch_index: int, dataloader_idx: int = 0) -> None:
        """Reseed the random state, so that a clip has the same random numbers in every validation."""
        complete(batch, batch_index, self.needs_audio)
        seed_all("validation", batch_index)

    def on_test_batch_start(self, batch: dict[str, Any], batch_index: int, dataloader_idx: int = 0) -> None:
        """Reseed the random state, so that a clip has the same random numbers in every test."""
        complete(batch, batch_index, self.needs_audio)
        seed_all("test", batch_index)

    def on_predict_batch_start(self, batch: dict[str, Any], batch_index: int, dataloader_idx: int = 0) -> None:
        """Reseed the random state, so that a clip has the same random numbers in every prediction."""
        complete(batch, batch_index, self.needs_audio)
        seed_all("predict", batch_index)

    def on_validation_end(self) -> None:
        """Step learning-rate schedulers that depend on a validation metric."""
        if self.trainer.state.fn == "fit" and not self.trainer.sanity_checking:
            self.network_optimizers.after_validation()

    # Checks, and the position of a training

    @classmethod
    def complete(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Return the hyperparameters, of which those that are None follow from the data of the class."""
        missing = [n for n, p in cls.hyperparameters.items() if p.kind == "shape" and values.get(n) is None]
        data = cls.hyperparameters["data"].default
        if not missing or not (isinstance(data, type) and issubclass(data, DataModule)):
            return values
        found = cls.values_from_data(data(), values)
        return values | {name: found[name].value for name in missing if name in found}

    def setup(self, stage: str) -> None:
        """Check that the sample rate of the data matches the mel front end and that the precision is supported."""
        if (data := data_module_of(self.trainer)) is not None:
            if data.sample_rate != self.preset.sample_rate:
                raise InvalidValueError(
                    f"the data has {data.sample_rate} Hz, the mel front end {self.preset.name} "
                    f"{self.preset.sample_rate} Hz: set --data.sample_rate or --model.mel so that they agree"
                )
            check_follows(self, data)
        if self.trainer.precision == "16-mixed":
            raise InvalidValueError(
                "precision 16-mixed is not supported with several optimisers: use --trainer.precision bf16-mixed, or "
                "32-true"
            )
        if self.trainer.precision not in ("32-true", "bf16-mixed"):
            raise InvalidValueError(
                f"precision {self.trainer.precision} is not supported, because mels and losses are in float32: use "
                "--trainer.precision bf16-mixed, or 32-true"
            )
        if stage != "fit":
            return
        if self.is_for_synthesis:
            raise InvalidTypeError(
                f"this {type(self).__name__} was opened for synthesis and has no losses: train the experiment, with "
                "the release as --ckpt_path"
            )
        check_hooks(self)
        adopt_configure_optimizers(self)
        if self.compile_networks:
            for network in self.networks().values():
                network.compile()

    def configure_callbacks(self) -> list[Any]:
        """Check the Trainer's arguments; Lightning calls this hook before it uses them. Returns no callbacks.

        Raises:
            ValueError: an argument of the Trainer is not supported.
        """
        if self.trainer.state.fn == "fit":
            check_trainer(self.trainer)
        return []

    def overrides(self, method: str) -> bool:
        """Return whether a subclass overrides a method of `System`."""
        return getattr(type(self), method) is not getattr(System, method)

    @property
    def needs_audio(self) -> bool:
        """Whether batches must have audio, which systems that override `example` may do without."""
        return not self.overrides("example")

    def on_train_batch_start(self, batch: dict[str, Any], batch_index: int) -> None:
        """Reseed the random state from the position in the training."""
        complete(batch, batch_index, self.needs_audio)
        self.step_before = self.global_step
        seed_all("train", self.global_step, self.global_rank)

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_index: int) -> None:
        """Advance the position of a data module that has one by the batch that was trained on.

        Raises:
            TypeError: an overridden `training_step` did not make exactly one generator update.
        """
        if (steps := self.global_step - getattr(self, "step_before", self.global_step - 1)) != 1:
            raise InvalidTypeError(
                f"{type(self).__name__}.training_step made {steps} optimiser steps that count as steps of the training "
                "and has to make one: call self.update(name, ...) for each network, or override "
                "training_losses(batch) instead"
            )
        if (data := data_module_of(self.trainer)) is not None:
            data.advance(batch)

    @property
    def eval_generator(self) -> nn.Module:
        """The generator of validation and synthesis: the averaged weights if `ema_decay` is set, else the generator."""
        return self.averaged_generator if self.ema_decay else self.generator

    @property
    def network(self) -> Any:
        """`eval_generator` without its wrapper, for its attributes."""
        return self.averaged_generator.module if self.ema_decay else self.generator

    # Checkpoints

    @classmethod
    def load_from_checkpoint(cls, checkpoint_path: Any, *arguments: Any, **settings: Any) -> Any:
        """Load a system from a checkpoint as Lightning does; its hyperparameters may have former names."""
        today = members_of(cls)
        if today and isinstance(checkpoint_path, (str, Path)) and Path(checkpoint_path).is_file():
            stored = torch.load(checkpoint_path, "cpu", weights_only=True, mmap=True).get("hyper_parameters", {})
            settings = {today[name]: value for name, value in stored.items() if name in today} | settings
        return super().load_from_checkpoint(checkpoint_path, *arguments, **settings)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the settings of the mel front end in the checkpoint."""
        checkpoint["front_end"] = asdict(self.preset)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that the checkpoint's mel front end is the system's, and prepare Lightning's counters for resuming.

        Raises:
            ValueError: the front ends differ; the message names each field with both values.
        """
        stored, own = checkpoint.get("front_end", {}), asdict(self.preset)
        differences = [f"{n} {stored[n]} (here {own[n]})" for n in own if n in stored and stored[n] != own[n]]
        if differences:
            raise InvalidValueError(f"the checkpoint was trained with another mel front end: {', '.join(differences)}")
        # One that was saved before a validation is restored exactly as it is: at the end of a batch.
        if "loops" in checkpoint and not begins_with_validation(checkpoint):
            data = checkpoint.get(type(getattr(getattr(self, "_trainer", None), "datamodule", None)).__qualname__, {})
            position = (data["epoch"], data["step"]) if {"epoch", "step"} <= data.keys() else None
            checkpoint["loops"] = before_next_batch(checkpoint["loops"], position)


def seed_all(*position: Any) -> None:
    """Seed torch's random generators on all devices from the run's seed and a position."""
    text = " ".join(map(str, (os.environ.get("PL_GLOBAL_SEED", 0), *position)))
    torch.manual_seed(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1)
