"""Using a released system (`ostinato release`), for which few packages are enough.

    system = load("hifigan_bach.safetensors")
    audio = system.synthesize(recording)  # (batch, 1, time), or a log-mel (batch, mels, frames)

It takes torch, torchaudio, numpy, safetensors, docstring-parser, soundfile, pillow and tqdm. Lightning, W&B and
webdataset are not imported, and need not be installed. A system whose class is not the framework's but an experiment's
own also needs its experiment's file and what that imports, as mido.
"""

import contextlib
import functools
import importlib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from framework.errors import InvalidTypeError, InvalidValueError
from framework.hyperparameters import stored_values
from framework.inference.layers import remove_weight_norm
from framework.private_names.of_torch import with_children
from framework.runs.identity import of_project
from framework.runs.limits import TooLargeError, sized_by
from framework.runs.released import ReleaseError, read_release
from framework.runs.stored_code import StoredCodeError, check_path

ONLY_TRAINED_WITH = (
    "averaged_generator",
    "discriminators",
    "losses",
    "adversarial_loss",
    "feature_matching",
    "balancer",
)
AUTOENCODER = "autoencoder."
"""Prefix of the weights of an autoencoder in the file of a system that works on its codes."""


@dataclass(frozen=True)
class Released:
    """A system as it was released, to be used and not to be trained.

    Args:
        system: The whole of it; `to` moves it to another device.
        metadata: What is known of it: experiment, hyperparameters, step, run, data and their licence, versions.
    """

    system: Any
    metadata: dict[str, Any]

    @property
    def generator(self) -> nn.Module:
        """The generator for synthesis (`eval_generator`), with weight normalisation removed."""
        return self.system.generator

    @property
    def front_end(self) -> nn.Module:
        """The mel front end: audio `(batch, 1, time)` -> log-mel `(batch, mels, frames)`."""
        return self.system.front_end

    @property
    def sample_rate(self) -> int:
        """Sample rate (Hz)."""
        return self.system.preset.sample_rate

    def to(self, device: torch.device | str) -> "Released":
        """Move it to a device and return it."""
        self.system.to(device)
        return self

    def synthesize(self, source: Tensor) -> Tensor:
        """Return what the run's `synthesize` makes of audio `(1, 1, time)`, or of its log-mel `(batch, mels, frames)`.

        What it draws at random follows from torch's generators. Several threads may call it at once.

        Raises:
            ValueError: neither the one nor the other, or a log-mel for a system that reads none, such as a codec.
        """
        preset, source = self.system.preset, source.to(self.system.device)
        if source.dim() != 3 or source.shape[1] not in (1, preset.n_mels):
            raise InvalidValueError(
                f"audio (1, 1, time) or log-mels (batch, {preset.n_mels}, frames) are wanted, not {tuple(source.shape)}"
            )
        if source.shape[1] == 1:
            return self.system.synthesize(self.system.batch_from_audio(source))
        frames = source.shape[-1] - (preset.padding == "center")
        silence = torch.zeros(len(source), 1, frames * preset.hop_length, device=source.device)
        # A system of its own around the same networks: other calls go on with theirs.
        given = GivenMel(source.float())
        system = with_children(self.system, {"front_end": given})
        audio = system.synthesize({"audio": silence})
        if not given.read:
            raise InvalidValueError(f"{type(system).__name__} does not read log-mels: give it audio (1, 1, time)")
        return audio


class GivenMel(nn.Module):
    """A front end that has one log-mel `(batch, mels, frames)`, whatever it is asked for, and knows if it was."""

    def __init__(self, mel: Tensor) -> None:
        super().__init__()
        self.mel, self.read = mel, False

    def forward(self, audio: Tensor) -> Tensor:
        """Return the mel."""
        self.read = True
        return self.mel

    def pieces(self, audio: Tensor, frames: int = 1024) -> Iterator[Tensor]:
        """Yield the mel in pieces of so many frames."""
        self.read = True
        yield from self.mel.split(frames, dim=-1)


def load(path: str | Path) -> Released:
    """Return a released system, on the CPU and in evaluation.

    Raises:
        ReleaseError: the file is missing, damaged, or of another version; or its system is not here as it was.
    """
    weights, metadata = read_release(path)
    # A system that works on an autoencoder's codes has it in its own file.
    own_file = {"autoencoder": str(path)} if "autoencoder" in metadata else {}
    return Released(restored(path, divided(weights)[0], metadata, own_file), metadata)


def load_autoencoder(path: str | Path) -> Any:
    """Return the autoencoder of a file: what was released, or that on whose codes it works.

    Raises:
        ReleaseError: as `load` does.
    """
    weights, metadata = read_release(path)
    own, autoencoder = divided(weights)
    return restored(path, autoencoder or own, metadata | metadata.get("autoencoder", {}))


def divided(weights: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the weights of a released system, and those of the autoencoder on whose codes it works, if it does."""
    theirs = {n.removeprefix(AUTOENCODER): value for n, value in weights.items() if n.startswith(AUTOENCODER)}
    return {n: value for n, value in weights.items() if not n.startswith(AUTOENCODER)}, theirs


def restored(
    path: str | Path, weights: Mapping[str, Tensor], metadata: Mapping[str, Any], overrides: Mapping[str, Any] = {}
) -> Any:
    """Return a system with its weights, by what is said of it.

    Raises:
        ReleaseError: it is not here as it was.
    """
    version = f"{path} was released by ostinato {metadata['packages'].get('ostinato')}, and this is another version"
    check_path(metadata["system"], path)
    try:
        with sized_by([value.numel() for value in weights.values()], path, 1 << 22):
            system = bare(metadata["system"], {**metadata["hyperparameters"], **overrides})
    except (StoredCodeError, TooLargeError):
        raise
    except Exception as error:
        # Values from a file can make a constructor fail in any way; `--debug` shows where.
        if isinstance(error, ImportError) and error.name and not of_project(error.name):
            raise ReleaseError(f"{path} needs {error.name}, which is not installed: pip install it") from error
        said = " ".join(str(error).split())[:200]
        raise ReleaseError(f"{version}: {metadata['system']} cannot be built ({said})") from error
    stored, own = metadata["front_end"], asdict(system.preset)
    differing = [name for name in own if as_stored(own[name]) != stored.get(name)]
    if differing:
        name = differing[0]
        raise ReleaseError(
            f"{version}: {name} of its mel was {stored.get(name)}, of {system.preset.name} here {own[name]}"
        )
    if complaint := unlike(used(system.state_dict()), weights):
        raise ReleaseError(f"{version}: {complaint}")
    system.load_state_dict(weights, strict=False)
    if "fingerprint" in metadata:
        system.released_as = metadata["fingerprint"]
    return system


def bare(system: str, hyperparameters: dict[str, Any]) -> Any:
    """Return a system by its class and values without what only training needs, its weight normalisation folded.

    Raises:
        ImportError, AttributeError: the class is not there.
        TypeError: it has other hyperparameters.
    """
    cls = untrained(system)
    made = cls(**stored_values(cls, hyperparameters) | {"ema_decay": 0.0})
    remove_weight_norm(made.generator)
    return made.eval().requires_grad_(False)


def used(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return what of a system's weights and buffers synthesis needs."""
    return {name: value for name, value in weights.items() if name.partition(".")[0] not in ONLY_TRAINED_WITH}


def unlike(own: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    """Return the first weight that differs in shape, or that one of the two lacks; empty if none does."""
    for name in [*own, *other]:
        here, there = (tuple(weights[name].shape) if name in weights else None for weights in (own, other))
        if here != there:
            return f"{name} is {there or 'missing'} there and {here or 'missing'} here"
    return ""


def as_stored(value: Any) -> Any:
    """Return a value as JSON gives it back."""
    return list(value) if isinstance(value, tuple) else value


@functools.cache
def untrained(name: str) -> Any:
    """Return a system's class by `module:name`, but with neither losses nor discriminators.

    It is made without Lightning, unless that was imported before or the class's module needs it.

    Raises:
        ImportError, AttributeError: it is not there.
    """
    try:
        with without_lightning():
            return _untrained(*name.split(":"))
    except ImportError:
        return _untrained(*name.split(":"))


def _untrained(module: str, name: str) -> Any:
    cls = functools.reduce(getattr, name.split("."), importlib.import_module(module))
    if not (isinstance(cls, type) and any(base.__name__ == "Hyperparameters" for base in cls.__mro__)):
        raise InvalidTypeError(f"{module}:{name} is no system")
    nothing: dict[str, Any] = {n: lambda self: {} for n in ("build_losses", "build_discriminators") if hasattr(cls, n)}
    return cls.variant(**nothing)  # type: ignore[attr-defined]


@contextlib.contextmanager
def without_lightning() -> Iterator[None]:
    """Import systems as plain torch modules.

    What was imported so is forgotten behind, as it cannot be trained: who imports it again gets what can.
    """
    if "lightning" in sys.modules:
        yield
        return
    before = set(sys.modules)
    sys.modules["lightning"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["lightning"]
        for name in set(sys.modules) - before:
            if of_project(name):
                del sys.modules[name]
