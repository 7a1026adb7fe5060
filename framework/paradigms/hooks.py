"""Hooks of Lightning that a system may not override, and callbacks that it cannot be trained with, each with a remedy.

Lightning calls some hooks under automatic optimisation alone, which a system with several networks cannot use. What is
not called is refused before the training rather than ignored.
"""

import functools
import sys
from typing import Any

from framework.data_module import data_module_of
from framework.errors import InvalidTypeError, InvalidValueError
from framework.paradigms.optimizers import SEAM
from framework.trainer_arguments import check_callback, lightning_bases

NOT_CALLED = {
    "optimizer_step": SEAM,
    "training_epoch_end": "override on_train_epoch_end",
    "validation_epoch_end": "override on_validation_epoch_end",
}
"""Methods of a LightningModule that are not called when a system is trained, and what to do instead."""

OF_THE_DATA = {
    "train_dataloader": "set `data`, or pass the loader to Trainer.fit",
    "val_dataloader": "set `data`, or pass the loader to Trainer.fit",
    "transfer_batch_to_device": "override it in the data module",
    "on_after_batch_transfer": "override it in the data module, or `example` and `condition` in the system",
}
"""Methods that Lightning calls on the data module alone where both have them."""

STRATEGIES = ("FSDPStrategy", "DeepSpeedStrategy", "ModelParallelStrategy", "XLAStrategy", "XLAFSDPStrategy")
"""Lightning's strategies that keep parts of a network on other devices, where no norm of its gradient is known."""


def check_hooks(system: Any) -> None:
    """Refuse what would be ignored when a system is trained.

    Raises:
        TypeError: naming the method, or the callback, and what to use instead.
    """
    own = type(system).__name__
    if system.automatic_optimization:
        raise InvalidTypeError(
            f"{own} sets automatic_optimization, which systems do not use: override training_losses(batch), or "
            "training_step with self.update(...)"
        )
    for hook, instead in NOT_CALLED.items():
        if _overrides(system, hook):
            raise InvalidTypeError(f"{own} overrides {hook}, which is not called: {instead}")
    data = system.trainer.datamodule
    if system.trainer.overfit_batches and data_module_of(system.trainer) is not None:
        raise InvalidTypeError(
            f"overfit_batches does not hold {type(data).__name__} to the same batches: use datamodules.one_clip.OneClip"
        )
    if (kind := type(system.trainer.strategy).__name__) in STRATEGIES:
        raise InvalidTypeError(f"systems cannot be trained with {kind}: use framework.strategies.GradientAveraging")
    for hook, instead in OF_THE_DATA.items():
        if _overrides(system, hook) and _overrides(data, hook):
            raise InvalidTypeError(f"{own} and {type(data).__name__} both override {hook}: {instead}")
    _check_callbacks(system)
    if not system.has_weights:
        raise InvalidTypeError(f"{own} has no weights to train: use Trainer.validate, or `ostinato fit`, which does")


def _overrides(instance: Any, hook: str) -> bool:
    """Say whether a class of the project or of a user overrides a method of Lightning's."""
    if instance is None:
        return False
    defining = next((base for base in type(instance).__mro__ if hook in vars(base)), None)
    return defining is not None and not defining.__module__.startswith(("lightning.", "torch."))


def _check_callbacks(system: Any) -> None:
    for callback in system.trainer.callbacks:
        check_callback(type(callback))
        if "LearningRateFinder" in lightning_bases(type(callback)) and len(system.networks()) > 1:
            names = " and ".join(system.networks())
            raise InvalidTypeError(
                f"the learning-rate finder needs a system with one network, not {names}: compare several values by a "
                "sweep over model.learning_rate"
            )


def adopt_configure_optimizers(system: Any) -> None:
    """Prepare a system that overrides `configure_optimizers` to be trained with what that returns.

    Raises:
        ValueError: it overrides `learning_rate_at`, too, which would not be asked.
    """
    if not system.overrides("configure_optimizers") or "configure_optimizers" in vars(system):
        return
    own = type(system).__name__
    if system.overrides("learning_rate_at"):
        raise InvalidValueError(
            f"{own} overrides configure_optimizers and learning_rate_at, of which the first sets learning rates "
            "itself: override build_optimizer(name, network) in its place"
        )
    if system.trainer.is_global_zero:
        print(
            f"warning: {own} overrides configure_optimizers: learning_rate_decay, decay_steps, warmup_steps and "
            "schedule have no effect, nor have learning_rate, betas and weight_decay unless it uses them",
            file=sys.stderr,
        )
    configure = system.configure_optimizers
    # Lightning drops part of what is returned, and has no hook at which it could be seen whole.
    system.configure_optimizers = functools.wraps(configure)(lambda: system.network_optimizers.adopt(configure()))
