"""Writes releases of trained systems, and loads released weights into systems."""

import copy
import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.nn.utils.parametrize import is_parametrized

from framework.ancestry import behaviour, is_library
from framework.generators.codecs.autoencoder import Autoencoder
from framework.generators.latent.pretrained import Pretrained
from framework.inference.layers import remove_weight_norm
from framework.paradigms.system import System
from framework.release import AUTOENCODER, ONLY_TRAINED_WITH, bare, divided, unlike, used
from framework.runs.checkpoints import CheckpointError
from framework.runs.importers import load_official
from framework.runs.loop_state import at_epoch_start
from framework.runs.released import ReleaseError, write_release

NO_SYNTHESIS = {f"build_{part}" for part in ONLY_TRAINED_WITH} | {
    "terms", "build_training", "setup",
    "training_step", "hyperparameters", "build_optimizer", "learning_rate_at", "configure_optimizers",
}  # fmt: skip


def release(system: System, path: Path, facts: Mapping[str, Any], checkpoint: dict[str, Any] | None = None) -> None:
    """Write a system's generator for synthesis with everything that its use requires.

    Args:
        system: A trained system.
        path: The path of the file.
        facts: Further entries of the description.
        checkpoint: If given, all networks and optimiser states are added, so that training can continue.

    Raises:
        ReleaseError: the system cannot be built from its class and hyperparameters alone.
    """
    described, weights = description(system), eval_weights(system)
    for part in system.children():
        if isinstance(part, Pretrained):
            described["hyperparameters"] |= {"autoencoder": ""}
            described["autoencoder"] = description(part.system)
            weights |= {AUTOENCODER + name: value for name, value in eval_weights(part.system).items()}
    described |= {
        "sample_rate": system.preset.sample_rate,
        "averaged": bool(system.ema_decay),
        "parameters": sum(parameter.numel() for parameter in system.network.parameters()),
        "packages": {name: importlib.metadata.version(name) for name in ("ostinato", "torch")},
    }
    write_release(path, weights, {**facts, **described}, at_epoch_start(checkpoint) if checkpoint else None)


def description(system: System) -> dict[str, Any]:
    """Return the description that a system is rebuilt from, with the fingerprint of the codes of an autoencoder.

    Raises:
        ReleaseError: the system cannot be built from its class and hyperparameters alone.
    """
    values = {name: getattr(system, name) for name, p in system.hyperparameters.items() if p.is_argument}
    described = {
        "system": class_path(type(system), values, eval_weights(system)),
        "hyperparameters": values,
        "front_end": asdict(system.preset),
    }
    return described | ({"fingerprint": system.fingerprint()} if isinstance(system, Autoencoder) else {})


def class_path(system: type[System], values: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """Return the class that synthesizes the same: the framework's, if all below it set values or train otherwise.

    A system that takes its network's shape from its data needs the experiment that names them.

    Raises:
        ReleaseError: no class builds a network with these weights.
    """
    complaint = ""
    for cls in (synthesizing(system), system):
        path = f"{cls.__module__}:{cls.__qualname__}"
        try:
            complaint = unlike(used(bare(path, dict(values)).state_dict()), weights)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            complaint = str(error)
        if not complaint:
            return path
    raise ReleaseError(f"{path} does not build the trained network by itself ({complaint}): put it in experiments/")


def synthesizing(system: type[System]) -> type:
    """Return the most general class of the ancestry that synthesizes as the system does, apart from its values.

    It inherits from the same classes of the framework, and from the same others that define what synthesis may
    depend on, in the same order.
    """
    ancestry = [base for base in system.__mro__ if issubclass(base, System)]
    return next(base for base in reversed(ancestry) if _synthesis(base) == _synthesis(system))


def _synthesis(system: type[System]) -> list[type]:
    """Return the base classes that synthesis may depend on."""
    return [
        base
        for base in system.__mro__
        if base.__module__.startswith("framework.") or (behaviour(base).keys() - NO_SYNTHESIS and not is_library(base))
    ]


def eval_weights(system: System) -> dict[str, Tensor]:
    """Return the weights and buffers that synthesis needs, under the names of a system without averaged weights."""
    network = remove_weight_norm(copy.deepcopy(system.network))
    own = {f"generator.{name}": value for name, value in network.state_dict().items()}
    return own | {n: v for n, v in used(system.state_dict()).items() if not n.startswith("generator.")}


def load_eval_weights(system: System, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Load released weights for synthesis; weight normalisation of the generator is removed.

    Raises:
        CheckpointError: the weights are of another network or for another mel front end.
    """
    check(system, checkpoint, path)
    (weights, _), prefix = divided(checkpoint["released"]), "generator."
    network = remove_weight_norm(system.network)
    network.load_state_dict({n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)})
    system.load_state_dict({n: v for n, v in weights.items() if not n.startswith(prefix)}, strict=False)
    if isinstance(system, Autoencoder):
        system.released_as = checkpoint["header"].get("fingerprint", "")


def begin_from(system: System, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Initialise a training with released or official weights of a generator, which keeps its weight normalisation.

    Raises:
        CheckpointError, OfficialCheckpointError: the weights are of another network.
    """
    if "released" not in checkpoint:
        load_official(system.generator, path)
        return
    check(system, checkpoint, path)
    weights, _ = divided(checkpoint["released"])
    for name, module in system.named_modules():
        if is_parametrized(module, "weight") and f"{name}.weight" in weights:
            # The assignment decomposes the weight into direction and norm.
            module.weight = weights.pop(f"{name}.weight")
    system.load_state_dict(weights, strict=False)


def check(system: System, checkpoint: dict[str, Any], path: str | Path) -> None:
    """Check that released weights belong to this network and mel front end.

    Raises:
        CheckpointError: naming the first parameter that differs.
        ValueError: naming each field of the front end that differs.
    """
    header = checkpoint["header"]
    stored = {"autoencoder": header["autoencoder"]["fingerprint"]} if "autoencoder" in header else {}
    system.on_load_checkpoint({"front_end": as_here(checkpoint["front_end"])} | stored)
    if complaint := unlike(eval_weights(system), divided(checkpoint["released"])[0]):
        raise CheckpointError(
            f"{path} holds another network than {type(system).__name__}: {complaint}; "
            "use the experiment and the values it was trained with"
        )


def as_here(values: dict[str, Any]) -> dict[str, Any]:
    """Convert lists to tuples, which JSON does not have."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
