"""Updates of a system's networks: their optimisers, their learning rates, and steps that bad gradients do not spoil."""

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from framework.errors import InvalidTypeError, InvalidValueError
from framework.private_names.of_torch import mark_not_finite, skips_by_itself

SEAM = "override build_optimizer(name, network) and learning_rate_at(step, epoch)"
"""What a system overrides to choose its optimisers and their learning rates."""
OWN_BEAT_STORED = ("betas", "weight_decay")
"""Settings of an optimiser that are those of the system, whatever a checkpoint stored."""


class Plateau(NamedTuple):
    """What a `ReduceLROnPlateau` scheduler watches."""

    scheduler: Any
    monitor: str
    strict: bool


class NetworkOptimizers:
    """The optimisers of a system's networks while Lightning trains it.

    Each network is updated by the optimiser that the system's `build_optimizer` returns, whose learning rate is set to
    `learning_rate_at(step, epoch)` before every step. A parameter group that is built with another learning rate than
    the system's keeps its ratio to it.

    Where a system overrides Lightning's `configure_optimizers`, what that returns is used as it is: optimisers are
    matched to networks by their parameters, their learning rates are left alone, and their learning-rate schedulers
    are stepped as Lightning does under automatic optimisation. So are schedulers that Lightning's learning-rate finder
    attaches.

    Args:
        system: The system, of which the optimisers are a part.
    """

    def __init__(self, system: Any) -> None:
        self.system = system
        self.ratios: dict[Optimizer, list[float]] = {}
        self.plateaus: list[Plateau] = []
        self._assigned: tuple[list[Optimizer], dict[str, list[Any]]] = ([], {})

    # What Lightning is given

    def build(self) -> list[Optimizer]:
        """Build an optimiser for each network of the system.

        Raises:
            TypeError: `build_optimizer` returns something else, or an optimiser that Lightning cannot step.
            ValueError: the learning rates of an optimiser and of an overridden `learning_rate_at` do not fit.
        """
        self.ratios = {}
        for name, network in self.system.networks().items():
            optimizer = self.system.build_optimizer(name, network)
            if not isinstance(optimizer, Optimizer):
                raise InvalidTypeError(
                    f"{type(self.system).__name__}.build_optimizer returns {type(optimizer).__name__} for the {name}: "
                    "return a torch.optim.Optimizer"
                )
            self.ratios[optimizer] = self._ratios_of(name, optimizer)
            _let_own_settings_beat_stored(name, optimizer)
        return list(self.ratios)

    def _ratios_of(self, name: str, optimizer: Optimizer) -> list[float]:
        rate = self.system.learning_rate
        ratios = [float(group["lr"]) / rate for group in optimizer.param_groups]
        if self.system.overrides("learning_rate_at") and 1.0 not in ratios:
            own = type(self.system).__name__
            raise InvalidValueError(
                f"the optimiser of the {name} has the learning rate {optimizer.param_groups[0]['lr']:g}, but "
                f"{own}.learning_rate_at gives it too: build the optimiser with self.learning_rate ({rate:g})"
            )
        return ratios

    def adopt(self, configured: Any) -> tuple[list[Optimizer], list[dict[str, Any]]]:
        """Take what an overridden `configure_optimizers` returns, and return it in the form that Lightning keeps whole.

        Under manual optimisation Lightning drops what a `ReduceLROnPlateau` monitors, so that is kept here.

        Raises:
            TypeError: it is none of the forms that Lightning documents.
            ValueError: a `ReduceLROnPlateau` has an interval or frequency of its own.
        """
        optimizers, schedulers = _parse(configured, type(self.system).__name__)
        self.plateaus = []
        for settings in schedulers:
            if isinstance(settings["scheduler"], ReduceLROnPlateau):
                if (settings.get("interval", "epoch"), settings.get("frequency", 1)) != ("epoch", 1):
                    raise InvalidValueError(
                        "a ReduceLROnPlateau scheduler steps after every validation: leave out its interval and "
                        "frequency, and count its patience in validations"
                    )
                monitor = settings.get("monitor") or self.system.monitor
                self.plateaus.append(Plateau(settings["scheduler"], monitor, settings.get("strict", True)))
        kept = ("scheduler", "interval", "frequency", "name")
        return optimizers, [{n: settings[n] for n in kept if n in settings} for settings in schedulers]

    # The optimisers of a network

    def of(self, name: str) -> list[Any]:
        """Return the optimisers of a network, as Lightning wraps them.

        Raises:
            ValueError: an optimiser has parameters of several networks or of none, or a network has no optimiser.
        """
        wrapped = self.system.optimizers()
        wrapped = wrapped if isinstance(wrapped, list) else [wrapped]
        known, assigned = self._assigned
        if [id(w.optimizer) for w in wrapped] != [id(optimizer) for optimizer in known]:
            assigned = self._assign(wrapped)
            self._assigned = [w.optimizer for w in wrapped], assigned
        return assigned[name]

    def _assign(self, wrapped: Sequence[Any]) -> dict[str, list[Any]]:
        networks = self.system.networks()
        owners = {id(p): name for name, network in networks.items() for p in network.parameters()}
        assigned: dict[str, list[Any]] = {name: [] for name in networks}
        for optimizer in wrapped:
            kind = type(optimizer.optimizer).__name__
            found = {owners.get(id(p)) for group in optimizer.param_groups for p in group["params"]}
            if len(found) != 1 or None in found:
                raise InvalidValueError(
                    f"{kind} has parameters of {_listed(found)}: an optimiser belongs to one of the networks "
                    f"({', '.join(networks)})"
                )
            _check_step(optimizer.optimizer)
            assigned[found.pop() or ""].append(optimizer)
        if without := [name for name, own in assigned.items() if not own]:
            raise InvalidValueError(
                f"{type(self.system).__name__}.configure_optimizers returns no optimiser for the "
                f"{' and the '.join(without)}: return one for each network ({', '.join(networks)}), or {SEAM}"
            )
        return assigned

    # An update

    def zero_grad(self, name: str) -> None:
        """Reset the gradients of a network, with the hooks that Lightning calls around it."""
        trainer = self.system.trainer
        for optimizer in self.of(name):
            for hooked in (*trainer.callbacks, None):
                if hooked is None:
                    self.system.on_before_zero_grad(optimizer.optimizer)
                else:
                    hooked.on_before_zero_grad(trainer, self.system, optimizer.optimizer)
            self.system.optimizer_zero_grad(self.system.current_epoch, trainer.fit_loop.batch_idx, optimizer.optimizer)

    def step(self, name: str, counted: bool) -> tuple[Tensor, Tensor, float]:
        """Clip the gradient of a network, set the learning rate and step the optimisers.

        Args:
            name: The name of the network.
            counted: Whether this is a step of the training; Lightning would count those of every network.

        Returns:
            The norm of the gradient before it was clipped, whether it is not finite (1 or 0, on the device) so that the
            step was skipped, and the learning rate of the first parameter group.
        """
        optimizers = self.of(name)
        parameters = [p for o in optimizers for group in o.param_groups for p in group["params"]]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        self._clip(optimizers, parameters, norm)
        not_finite = (~torch.isfinite(norm)).float()
        for optimizer in optimizers:
            self._set_rate(optimizer.optimizer)
            self._step(optimizer, not_finite, counted and optimizer is optimizers[0])
        rate = float(optimizers[0].param_groups[0]["lr"])
        if counted:
            self._step_schedulers("step", self.system.global_step)
            if self.system.trainer.is_last_batch:
                self._step_schedulers("epoch", self.system.current_epoch + 1)
        return norm, not_finite, rate

    def _clip(self, optimizers: Sequence[Any], parameters: Sequence[Tensor], norm: Tensor) -> None:
        largest = self.system.gradient_clip
        if self.system.overrides("configure_gradient_clipping"):
            for optimizer in optimizers:
                self.system.configure_gradient_clipping(optimizer.optimizer, largest or None, "norm")
        elif largest:
            nn.utils.clip_grads_with_norm_(parameters, largest, norm)

    def _set_rate(self, optimizer: Optimizer) -> None:
        if self.system.overrides("configure_optimizers") or self.system.trainer.lr_scheduler_configs:
            return
        rate = self.system.learning_rate_at(self.system.global_step, self.system.current_epoch)
        ratios = self.ratios[optimizer]
        for group in optimizer.param_groups[len(ratios) :]:
            ratios.append(float(group["lr"]) / self.system.learning_rate)
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate * ratio)
            else:
                group["lr"] = rate * ratio

    def _step(self, optimizer: Any, not_finite: Tensor, counted: bool) -> None:
        own = optimizer.optimizer
        if skips_by_itself(own):
            mark_not_finite(own, not_finite)
        elif not_finite:
            if counted:
                # The position in the training does not depend on which steps are skipped.
                from framework.private_names.of_lightning import count_step

                count_step(optimizer)
            return
        if counted:
            optimizer.step()
        else:
            self.system.trainer.strategy.optimizer_step(own, lambda: None)

    # Learning-rate schedulers

    def _step_schedulers(self, interval: str, count: int) -> None:
        watching = [plateau.scheduler for plateau in self.plateaus]
        for config in self.system.trainer.lr_scheduler_configs:
            if config.scheduler not in watching and config.interval == interval and count % config.frequency == 0:
                self.system.lr_scheduler_step(config.scheduler, None)

    def after_validation(self) -> None:
        """Step the schedulers that watch a metric of the validation.

        Raises:
            ValueError: the validation does not report the metric.
        """
        metrics = self.system.trainer.callback_metrics
        for plateau in self.plateaus:
            if plateau.monitor in metrics:
                self.system.lr_scheduler_step(plateau.scheduler, metrics[plateau.monitor])
            elif plateau.strict:
                raise InvalidValueError(
                    f"ReduceLROnPlateau monitors {plateau.monitor!r}, which the validation does not report: "
                    f"choose one of {', '.join(sorted(metrics))}"
                )


def _parse(configured: Any, system: str) -> tuple[list[Optimizer], list[dict[str, Any]]]:
    """Return the optimisers and the settings of the schedulers in any of the forms that Lightning documents."""
    if isinstance(configured, Optimizer):
        return [configured], []
    if isinstance(configured, dict):
        configured = [configured]
    if isinstance(configured, (list, tuple)) and configured:
        if all(isinstance(item, Optimizer) for item in configured):
            return list(configured), []
        if len(configured) == 2 and all(isinstance(item, (list, tuple)) for item in configured):
            optimizers, schedulers = configured
            return list(optimizers), [_settings(scheduler) for scheduler in schedulers]
        if all(isinstance(item, dict) and isinstance(item.get("optimizer"), Optimizer) for item in configured):
            watched = [(item["lr_scheduler"], item) for item in configured if "lr_scheduler" in item]
            settings = [{"monitor": item.get("monitor")} | _settings(scheduler) for scheduler, item in watched]
            return [item["optimizer"] for item in configured], settings
    raise InvalidTypeError(
        f"{system}.configure_optimizers returns {type(configured).__name__}: return torch optimisers, with their "
        f"schedulers as Lightning documents, or {SEAM}"
    )


def _settings(scheduler: Any) -> dict[str, Any]:
    return dict(scheduler) if isinstance(scheduler, dict) else {"scheduler": scheduler}


def _listed(names: set[str | None]) -> str:
    return " and ".join(sorted(f"the {name}" if name else "no network" for name in names)) or "no network"


def _check_step(optimizer: Optimizer) -> None:
    """Refuse an optimiser whose step Lightning cannot call.

    Raises:
        TypeError: naming it.
    """
    closure = inspect.signature(optimizer.step).parameters.get("closure")
    if closure is None or closure.default is inspect.Parameter.empty:
        needs = "cannot be given a closure" if closure is None else "needs a closure that computes the loss again"
        raise InvalidTypeError(
            f"{type(optimizer).__name__}.step {needs}: use an optimiser with step(closure=None), as torch.optim.AdamW"
        )


def _let_own_settings_beat_stored(name: str, optimizer: Optimizer) -> None:
    """Keep an optimiser's own `betas` and `weight_decay` when it loads a stored state, and refuse another's state."""
    built = [dict(group) for group in optimizer.param_groups]

    def keep(loaded: Optimizer) -> None:
        for group, own in zip(loaded.param_groups, built, strict=True):
            if missing := own.keys() - group.keys():
                raise InvalidValueError(
                    f"the checkpoint holds the state of another optimiser of the {name} than "
                    f"{type(loaded).__name__}, without {', '.join(sorted(missing))}: begin from the weights alone, "
                    "by `ostinato release` and --ckpt_path with its file"
                )
            group.update({setting: own[setting] for setting in OWN_BEAT_STORED if setting in own})

    optimizer.register_load_state_dict_post_hook(keep)
